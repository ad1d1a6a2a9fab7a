"""Text to make bodies of: the standard library's source, so that nothing has to be shipped or fetched."""

import random
import re
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_SKIPPED = {"test", "tests", "site-packages", "idlelib", "encodings", "pydoc_data", "lib2to3", "turtledemo"}
_LEAST_BYTES = 4_000
_SENTENCE = re.compile(r"[A-Z][a-z]+(?: [a-zA-Z,'\"()-]+){5,30}\.")
_SPOKEN_WORDS = 2
"""Words that stand together in `speech`: so zstd makes as little of 20 MB of it as of the sentences once, 3.1x."""
_SPOKEN_BYTES = 12
"""Size of so many words and a space, about."""


@lru_cache(maxsize=4)
def pieces(size_bytes: int) -> Sequence[str]:
    """Cut the modules, one after another, into pieces of about so many bytes."""
    cut: list[str] = []
    held: list[str] = []
    held_bytes = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            held.append(line)
            held_bytes += len(line)
            if held_bytes >= size_bytes:
                cut.append("".join(held))
                held, held_bytes = [], 0
    return cut


@lru_cache(maxsize=1)
def sources() -> dict[str, Sequence[str]]:
    """Return the lines of each module of the standard library, by its path."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path.relative_to(root) for path in root.rglob("*.py")]
    kept = sorted(path for path in paths if not _SKIPPED.intersection(path.parts))
    texts = {path.as_posix(): (root / path).read_text(encoding="utf-8", errors="replace") for path in kept}
    return {name: text.splitlines() for name, text in texts.items() if len(text) >= _LEAST_BYTES}


@lru_cache(maxsize=1)
def sentences() -> Sequence[str]:
    """Return the sentences of the standard library's comments and docstrings."""
    found = (_SENTENCE.findall(" ".join(map(str.strip, lines))) for lines in sources().values())
    return list(dict.fromkeys(sentence for each in found for sentence in each))


def prose(rng: random.Random, size_bytes: int) -> str:
    """Return sentences that stand together, of about that size."""
    said: list[str] = []
    at = rng.randrange(len(sentences()))
    while size_bytes > 0:
        said.append(sentences()[(at + len(said)) % len(sentences())])
        size_bytes -= len(said[-1])
    return " ".join(said)


def speech(rng: random.Random, size_bytes: int) -> str:
    """Return text of about that size which nobody has said before, as compressible as what people write.

    There are few sentences: traffic of gigabytes that was made of them would repeat itself, and be packed
    better than people's words are. So this is made of a few words at a time.
    """
    return " ".join(rng.choices(_spoken(), k=1 + size_bytes // _SPOKEN_BYTES))


@lru_cache(maxsize=1)
def _spoken() -> Sequence[str]:
    words = " ".join(sentences()).split(" ")
    return [" ".join(words[at : at + _SPOKEN_WORDS]) for at in range(0, len(words), _SPOKEN_WORDS)]
