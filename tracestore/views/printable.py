r"""Text from a trace, made safe to print as part of one line.

Messages and names come from models, tools and strangers. What could break a line, drive a
terminal or hide from the reader is written as in source code: ``\n``, ``\x1b``, ``\u2028``,
``\U000e0041``. A backslash stays as it is: a view is for reading, the record holds the truth.
"""

import re

_UNPRINTABLE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls: newlines, escape codes, and C1, which some terminals obey
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks can show a line backwards
    "\u2028\u2029"  # line separators
    "\ufeff\U000e0000-\U000e007f"  # invisible: the byte order mark, and tags that spell hidden text
    "\ud800-\udfff"  # lone surrogates cannot be encoded, so printing them fails
    "]"
)
_UNPRINTABLE_BUT_NEWLINE = re.compile(r"(?!\n)" + _UNPRINTABLE.pattern)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escape_to_one_line(text: str) -> str:
    """Write what is not safe to print as escapes; the result is one line for every reader."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    if code < 0x100:
        return _SHORT.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_in_json(text: str) -> str:
    """Write the same characters inside JSON as its own escapes; the value stays what it is."""
    return _UNPRINTABLE_BUT_NEWLINE.sub(_escaped_in_json, text)


def _escaped_in_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
