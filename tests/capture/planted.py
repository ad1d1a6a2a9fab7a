"""A made-up secret of every known kind, and a look for them wherever they might have got to."""

import base64
import gzip
import re
import zlib
from pathlib import Path

_LETTERS = "Zq7Xw9Kp3Vt5Rn8Jm2Lc6Hd4Gf0Bs1"
_PEM_LINES = "\n".join("MIIEpQ" + _LETTERS[n:] + _LETTERS + "Wy"[:n] for n in range(3))
_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJaUTdYdzlLcDNWdDUifQ.Zq7Xw9Kp3Vt5Rn8Jm2Lc6Hd4"

SECRETS = {
    "anthropic": f"sk-ant-api03-{_LETTERS}_-{_LETTERS}",
    "openai project": f"sk-proj-{_LETTERS}-_{_LETTERS}",
    "openai service": f"sk-svcacct-{_LETTERS}",
    "openai admin": f"sk-admin-{_LETTERS}",
    "openai": f"sk-{_LETTERS}",
    "cerebras": f"csk-{_LETTERS}",
    "nvidia": f"nvapi-{_LETTERS}",
    "openrouter": f"sk-or-v1-{_LETTERS}",
    "langfuse": "sk-lf-1c9f7e52-83b4-4d06-a9e7-5f2b8c3d1a60",
    "google": f"AIza{_LETTERS}Sy_-a",
    "google access": f"ya29.{_LETTERS}",
    "aws": "AKIAZQ7XW9KP3VT5RN8J",
    "aws session": "ASIAZQ7XW9KP3VT5RN8J",
    "github": f"ghp_{_LETTERS}",
    "github oauth": f"gho_{_LETTERS}",
    "github user": f"ghu_{_LETTERS}",
    "github server": f"ghs_{_LETTERS}",
    "github refresh": f"ghr_{_LETTERS}",
    "github fine": f"github_pat_{_LETTERS}",
    "gitlab": f"glpat-{_LETTERS}",
    "slack": f"xoxb-1234567890-{_LETTERS}",
    "slack app": f"xapp-1-{_LETTERS}",
    "hugging face": f"hf_{_LETTERS}",
    "groq": f"gsk_{_LETTERS}",
    "xai": f"xai-{_LETTERS}",
    "perplexity": f"pplx-{_LETTERS}",
    "replicate": f"r8_{_LETTERS}",
    "tavily": f"tvly-dev-{_LETTERS}",
    "langsmith": f"lsv2_pt_{_LETTERS}",
    "stripe": f"sk_live_{_LETTERS}",
    "stripe test": f"sk_test_{_LETTERS}",
    "stripe restricted": f"rk_live_{_LETTERS}",
    "npm": f"npm_{_LETTERS}ZqXwKp",
    "pypi": f"pypi-{_LETTERS}{_LETTERS}",
    "sendgrid": f"SG.{_LETTERS[:22]}.{_LETTERS}Zq7Xw9Kp3Vt5R",
    "bearer": f"Bearer {_LETTERS}",
    "lower bearer": f"bearer {_LETTERS}",
    "jwt": _JWT,
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{_PEM_LINES}\nZq7Xw9Kp==\n-----END RSA PRIVATE KEY-----",
}
"""By kind; all made up, and of the form that the real ones have."""

_TELLING = re.compile(r"Zq7Xw9Kp|Rn8Jm2Lc|ZQ7XW9KP|7e52-83b4|aUTdYdzlLc", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")


def is_told(content: bytes) -> bool:
    """Whether the middle of any secret is in there: as it is, in base64, compressed, or one within another."""
    if _TELLING.search(content.decode("utf-8", "replace")):
        return True
    return any(is_told(inner) for inner in _inside(content))


def journal_of(directory: Path) -> bytes:
    """All that stands in the files of a journal."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def _inside(content: bytes):
    for found in _BASE64.findall(content):
        whole = found.rstrip(b"=")
        yield base64.b64decode(whole[: len(whole) // 4 * 4])
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:1] == b"\x78":
        try:
            yield zlib.decompress(content)
        except zlib.error:
            return
