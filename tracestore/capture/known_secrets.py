"""What keys of well-known providers look like: the backstop for secrets that stand in bodies and messages.

Forms as the providers document them, or as their keys look. Each begins with a text of its own, so
that one fast search tells whether a line can hold any of them. No pattern may look at a long run of
characters again from each of its positions: a body of 1 MB is searched in well under a second.
"""

from typing import Final, NamedTuple

_ALNUM, _WORDS, _TOKEN = "[A-Za-z0-9]", "[A-Za-z0-9_-]", "[A-Za-z0-9._~+/%-]"
_SPACE = r"(?:[ +]|%20)"  # as it is, or in a URL
_PRIVATE_KEY = rf"(?:{_SPACE}[A-Z]{{1,12}}){{0,4}}{_SPACE}PRIVATE{_SPACE}KEY(?:{_SPACE}BLOCK)?"
# A private key: whatever stands before each line (its number in a listing, headers), and the line. The end may have
# been cut off; a text that only says how a key begins is none.
_PEM_OTHER = r"(?:[^-]|-(?!----)){0,200}?"
_PEM_LINES = rf"(?:{_PEM_OTHER}[A-Za-z0-9+/=%]{{40,}}+)++"
_PEM_END = rf"(?:{_PEM_OTHER}-----END(?:{_SPACE}[A-Z]+){{1,6}}-----|(?:\\+[nr]|\s)*+[A-Za-z0-9+/=%]*+)"


class Secret(NamedTuple):
    """A kind of secret: the exact text it begins with, and a regular expression of what follows.

    The prefix is ASCII without quotes and backslashes, so that it stands in JSON as it is. One that is
    the end of ordinary words as well (``task-``) is looked for at the beginning of words alone.
    """

    prefix: str
    rest: str
    begins_word: bool = False


def _key(least: int) -> str:
    """Return a pattern of so many letters and digits, and of what is glued to them: perhaps another key."""
    return rf"{_ALNUM}{{{least},}}{_WORDS}*"


KNOWN_SECRETS: Final[tuple[Secret, ...]] = (
    Secret("-----BEGIN", rf"{_PRIVATE_KEY}-----{_PEM_LINES}{_PEM_END}"),  # first what could be part of another
    Secret("Bearer", rf"{_SPACE}{_TOKEN}{{16,}}=*"),
    Secret("bearer", rf"{_SPACE}{_TOKEN}{{16,}}=*"),
    Secret("SG.", rf"{_WORDS}{{22}}\.[A-Za-z0-9._-]{{43,}}"),  # SendGrid
    Secret("ya29.", "[A-Za-z0-9._-]{20,}"),  # Google
    Secret("sk-ant-", rf"{_WORDS}{{16,}}"),  # Anthropic
    Secret("sk-proj-", rf"{_WORDS}{{16,}}"),  # OpenAI, with the next three
    Secret("sk-svcacct-", rf"{_WORDS}{{16,}}"),
    Secret("sk-admin-", rf"{_WORDS}{{16,}}"),
    Secret("sk-", _key(20), begins_word=True),
    Secret("csk-", _key(20), begins_word=True),  # Cerebras
    Secret("nvapi-", rf"{_WORDS}{{20,}}"),  # NVIDIA
    Secret("sk-or-", rf"{_WORDS}{{16,}}"),  # OpenRouter
    Secret("sk-lf-", rf"{_WORDS}{{16,}}"),  # Langfuse
    Secret("AIza", rf"{_WORDS}{{35,}}", begins_word=True),  # Google; in base64 any four letters occur
    Secret("AKIA", "[A-Z0-9]{16,}", begins_word=True),  # AWS
    Secret("ASIA", "[A-Z0-9]{16,}", begins_word=True),
    Secret("ghp_", _key(30)),  # GitHub
    Secret("gho_", _key(30)),
    Secret("ghu_", _key(30)),
    Secret("ghs_", _key(30)),
    Secret("ghr_", _key(30)),
    Secret("github_pat_", r"[A-Za-z0-9_]{22,}"),
    Secret("glpat-", rf"{_WORDS}{{20,}}"),  # GitLab
    Secret("xox", r"[a-z][.-][A-Za-z0-9.-]{10,}"),  # Slack
    Secret("xapp-", "[A-Za-z0-9-]{10,}"),
    Secret("hf_", _key(30), begins_word=True),  # Hugging Face
    Secret("gsk_", _key(20), begins_word=True),  # Groq
    Secret("xai-", _key(20), begins_word=True),
    Secret("pplx-", _key(20)),  # Perplexity
    Secret("r8_", _key(30), begins_word=True),  # Replicate
    Secret("tvly-", rf"{_WORDS}{{16,}}"),  # Tavily
    Secret("lsv2_", r"[A-Za-z0-9_]{30,}"),  # LangSmith
    Secret("sk_live_", _key(16), begins_word=True),  # Stripe
    Secret("sk_test_", _key(16), begins_word=True),
    Secret("rk_live_", _key(16), begins_word=True),
    Secret("npm_", _key(36), begins_word=True),
    Secret("pypi-", rf"{_WORDS}{{50,}}", begins_word=True),
    Secret(".eyJ", rf"{_WORDS}{{10,}}\.{_WORDS}{{10,}}"),  # JSON Web Token: what it claims, and its signature
)
