"""Masks secrets before a line exists, so that nothing downstream ever sees one.

A secret keeps a few characters at each end, enough to tell two keys apart::

    13 or more characters: 3 at each end      sk-…redacted…x9Q
    11 or 12: 2      8 to 10: 1      7 or fewer: none

The same secret always becomes the same text, so that equal bodies stay equal and are kept once; a
masked text stays as it is when it is masked again.

Masked are whole attributes by name (`SECRET_NAMES` and ``fields``), in bodies of JSON the members named
in ``fields`` that are texts or numbers (a number becomes a text), also where JSON is text within JSON,
and by pattern (`KNOWN_SECRETS`) what looks like a key anywhere: in bodies, messages, names, attributes
and ids. An object in a body is masked by the names in it. A secret that a model streams token by
token stands in pieces in what was received, and is not recognised.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from ahocorasick_rs import BytesAhoCorasick, MatchKind

from tracestore.capture.known_secrets import KNOWN_SECRETS, Secret
from tracestore.errors import InputInvalid

MARK: Final = "…redacted…"
SECRET_NAMES: Final = frozenset((
    "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api_key", "apikey",
    "x-goog-api-key", "x-amz-security-token", "openai_api_key", "anthropic_api_key", "access_token", "refresh_token",
    "id_token", "auth_token", "client_secret", "secret", "secret_key", "private_key", "password", "passwd",
    "x-auth-token", "x-access-token", "x-amz-signature",
))  # fmt: skip
"""Names of headers, query parameters and attributes whose value is always masked; ``-`` and ``_`` are one."""

_TIERS = ((13, 3), (11, 2), (8, 1))  # at least so many characters: so many kept at each end
_PASSES = 4  # at most: the end that is kept of one secret may begin another, with what stands behind it
_MASKED = re.compile(rf"([\s\S]{{0,3}}){MARK}([\s\S]{{0,3}})")
# Where a word begins: not behind a letter, but behind the escape of one (JSON, URL, terminal).
_BEFORE_WORD = (r"<![A-Za-z0-9_]", r"<=\\[bfnrt]", r"<=\\u[0-9A-Fa-f]{4}", r"<=%[0-9A-Fa-f]{2}", r"<=[0-9\[][mK]")


def mask(secret: str) -> str:
    """Mask one secret; what is masked already stays as it is."""
    masked = _MASKED.fullmatch(secret)
    if masked and len(masked[1]) == len(masked[2]):
        return secret
    kept = next((kept for least, kept in _TIERS if len(secret) >= least), 0)
    return secret[:kept] + MARK + secret[len(secret) - kept :]


class Redaction:
    """What is masked: what is named in ``fields``, and what looks like one of ``secrets``. Immutable.

    ``fields`` are names of attributes, in any case, and of members of JSON in bodies, as they are
    written there. Raises InputInvalid for a field or a prefix that the search cannot find in JSON.
    """

    def __init__(self, *, fields: Iterable[str] = (), secrets: Iterable[Secret] = KNOWN_SECRETS) -> None:
        if isinstance(fields, str):  # its letters would be the names
            raise InputInvalid(f"fields: wanted a list of names, found {fields!r:.40}")
        self._fields = tuple(fields)
        for text in self._fields:
            _check_is_plain("fields", text, least=1)
        rules: dict[str, list[_Rule]] = {}
        for secret in secrets:
            _check_is_secret(secret)
            rules.setdefault(secret.prefix, []).append(_rule_of_secret(secret))
        for field in self._fields:
            rules.setdefault(field, []).append(_rule_of_field(field))
        # One search finds no text that overlaps one it found: each is searched for by a shorter one within it,
        # and may begin with the end of another.
        needles = [text for text in rules if not any(text != other and other in text for other in rules)]
        self._rules = [[rule for text in rules if _hides(needle, text) for rule in rules[text]] for needle in needles]
        self._search = _search_for(needles) if needles else None
        self._names = {_folded(name) for name in (*SECRET_NAMES, *self._fields)}
        self._is_secret_name = lru_cache(maxsize=4096)(self._names_secret)

    def __repr__(self) -> str:
        return f"<Redaction of {len(self._rules)} kinds of text>"

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return attributes of which those with a secret name are masked; an object is by the names in it."""
        return {
            name: self.named(name, value if isinstance(value, str) else str(value))
            if value is not None and not isinstance(value, Mapping) and self._is_secret_name(name)
            else value
            for name, value in attributes.items()
        }

    def named(self, name: str, value: str) -> str:
        """Return a value, masked where its name, or the last part of it, is that of a secret."""
        return mask(value) if self._is_secret_name(name) else value

    def text(self, text: str) -> str:
        """Return a text whose secrets are masked."""
        rules = self._found(text.encode("utf-8", "surrogatepass"))
        return _masked(text, rules) if rules else text

    def value(self, value: Any) -> Any:
        """Return a value of any depth, of mappings and sequences, whose texts and names are masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.data(bytes(value))
        if isinstance(value, Mapping):
            named = self.attributes(value)
            return {self.text(str(name)): self.value(item) for name, item in named.items()}
        if isinstance(value, Sequence):
            return [self.value(item) for item in value]
        return value

    def data(self, data: bytes) -> bytes:
        """Return bytes, text or not, whose secrets are masked; itself where it holds none."""
        rules = self._found(data)
        if not rules:
            return data
        return _masked(data.decode("utf-8", "surrogateescape"), rules).encode("utf-8", "surrogateescape")

    def line(self, line: bytes, members: dict[str, Any], encode: Callable[[dict[str, Any]], bytes]) -> bytes:
        """Return a line whose secrets are masked: as it is where it holds none, as most do, else encoded again.

        One search of the whole line finds what may be secrets; the masking is done in the texts of
        its members, for in JSON a secret may begin behind the letter of an escape.
        """
        rules = self._found(line)
        if not rules:
            return line
        masked = _masked_value(members, rules)
        return line if masked == members else encode(masked)

    def _names_secret(self, name: str) -> bool:
        name = _folded(str(name))
        return name in self._names or name.rpartition(".")[2] in self._names

    def _found(self, data: bytes) -> "list[_Rule]":
        if self._search is None:
            return []
        found = {index for index, _, _ in self._search.find_matches_as_indexes(data)}
        return [rule for index in sorted(found) for rule in self._rules[index]]


class _Rule(NamedTuple):
    """What secrets of one kind look like, and what a match of that becomes."""

    pattern: str
    mask: "Callable[[re.Match[str]], str]"


def _rule_of_secret(secret: Secret) -> _Rule:
    pattern = re.escape(secret.prefix)
    if secret.begins_word:  # looked at from behind the prefix: what begins with a plain text is found 100 times as fast
        pattern += f"(?:{'|'.join(f'(?{before}{pattern})' for before in _BEFORE_WORD)})"
    return _Rule(pattern + secret.rest, lambda found: mask(found[0]))


def _rule_of_field(field: str) -> _Rule:
    # In JSON a text ends at the first quote behind an even number of backslashes. In JSON that is text in JSON a
    # quote has N of them, where N is 1, 3, 7 and so on, and a backslash of the text is 2 * N + 2.
    name, gap, number = re.escape(field), r"(?:\s|\\+[nrt])*+", r"-?[0-9][0-9.eE+-]*"
    plain = rf'(?<!\\)"{name}"\s*+:\s*+(?:"(?P<plain>(?:[^"\\]|\\[\s\S])*+)|(?P<number>{number}))'
    quote = '(?P=slashes)"'
    text = rf"(?P<nested>[\s\S]*?(?:(?<!\\)(?:(?P=slashes){{2}}\\\\)*+(?={quote})|\Z))"
    nested = (
        rf'(?<!\\)(?P<slashes>\\{{1,31}})"{name}{quote}{gap}:{gap}'
        rf"(?:{quote}{text}|(?P<nested_number>{number}))"
    )

    def masked(found: "re.Match[str]") -> str:
        part = next(part for part in ("plain", "nested", "number", "nested_number") if found[part] is not None)
        start, end = (at - found.start() for at in found.span(part))
        quote = (found["slashes"] or "") + '"' if part.endswith("number") else ""
        return f"{found[0][:start]}{quote}{_mask_escaped(found[part])}{quote}{found[0][end:]}"

    return _Rule(f"{plain}|{nested}", masked)


def _mask_escaped(secret: str) -> str:
    """Mask a text in which characters may be escaped; none is kept where half an escape would be."""
    return MARK if "\\" in secret[:3] + secret[-4:] else mask(secret)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _hides(needle: str, text: str) -> bool:
    """Tell whether a text may stand where a search finds the needle: around it, or from within it on."""
    return needle in text or any(text.startswith(needle[start:]) for start in range(1, len(needle)))


def _check_is_secret(secret: Secret) -> None:
    if not isinstance(secret, Secret):
        raise InputInvalid(f"secrets: wanted Secret(prefix, pattern of the rest), found {secret!r:.40}")
    _check_is_plain("secrets", secret.prefix, least=2)
    if secret not in KNOWN_SECRETS:
        try:
            _compiled(_rule_of_secret(secret).pattern)
        except re.error as error:
            wanted = f"a regular expression behind {secret.prefix!r}"
            raise InputInvalid(f"secrets: wanted {wanted}, found {secret.rest!r:.40}: {error}") from error


def _check_is_plain(what: str, text: str, *, least: int) -> None:
    if len(text) < least or not text.isascii() or not text.isprintable() or set(text) & {'"', "\\"}:
        wanted = f"{least} or more printable ASCII characters without quotes and backslashes"
        raise InputInvalid(f"{what}: wanted {wanted}, found {text!r:.40}")


def _search_for(needles: Sequence[str]) -> BytesAhoCorasick:
    """Return a search for texts of which none is within another; leftmost first is five times as fast as standard."""
    return BytesAhoCorasick([needle.encode() for needle in needles], matchkind=MatchKind.LeftmostFirst)


_compiled = cache(re.compile)  # when it is first needed: all of them take 15 ms


def _masked(text: str, rules: "list[_Rule]") -> str:
    for _ in range(_PASSES):
        before = text
        for rule in rules:
            text = _compiled(rule.pattern).sub(rule.mask, text)
        if text == before:
            break
    return text


def _masked_value(value: Any, rules: "list[_Rule]") -> Any:
    if isinstance(value, str):
        return _masked(value, rules)
    if isinstance(value, dict):
        return {_masked(name, rules): _masked_value(item, rules) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked_value(item, rules) for item in value]
    return value
