"""What a coding agent's tools answer: files, searches, edits, tests, logs and diffs of a work tree.

The tree is the standard library's source, so nothing has to be shipped or fetched; each conversation has
a copy of some of it, which its edits change. Hashes, addresses, times and ids are new in every answer.
"""

import random
import re
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from benchmarks.corpora.texts import sentences, sources

ROOT = "/home/dev/projects/agent-cli/packages/server/src/"
FILES = 30
"""Files that a conversation works on; searches reach further."""

_WORD = re.compile(r"[a-zA-Z_]{4,}")


class Use(NamedTuple):
    """One use of a tool: what the model asks for, and what it gets."""

    tool: str
    input: dict[str, object]
    result: str


class _Edit(NamedTuple):
    name: str
    line: int
    old: Sequence[str]
    new: Sequence[str]


class Workspace:
    """A conversation's work tree and the tools that it is worked on with."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._files = {name: self._own(sources()[name]) for name in rng.sample(sorted(sources()), FILES)}
        self._edits: list[_Edit] = []

    def use(self, size_bytes: int) -> Use:
        """Use some tool; the result has about that size, but for edits, which answer with a snippet."""
        tools = (self._read, self._search, self._edit, self._test, self._log, self._history, self._diff)
        (tool,) = self._rng.choices(tools, (32, 25, 18, 18, 3, 1, 3))
        return tool(size_bytes)

    def _own(self, lines: Sequence[str]) -> list[str]:
        """Return lines as they stand in this tree alone: one in three has another name in it."""
        rng, own = self._rng, list(lines)
        for number in rng.sample(range(len(own)), len(own) // 3):
            own[number] = own[number].replace(self._word(own[number]), self._word(rng.choice(sentences())))
        return own

    def _read(self, size_bytes: int) -> Use:
        name = self._name()
        lines = self._files[name]
        first = self._rng.randrange(max(1, len(lines) - 20))
        last = next((i for i, size in _sizes(lines, first, 8) if size > size_bytes), len(lines))
        asked = {"file_path": ROOT + name, "offset": first + 1, "limit": last - first}
        return Use("Read", asked, _numbered(lines, first, last))

    def _search(self, size_bytes: int) -> Use:
        rng = self._rng
        word = self._word(rng.choice(self._files[self._name()]))
        found: list[str] = []
        left = size_bytes
        for name in [*self._files, *rng.sample(sorted(sources()), 60)]:
            for number, line in enumerate(self._files.get(name) or sources()[name], 1):
                if word in line and left > 0:
                    found.append(f"{ROOT}{name}:{number}:{line}")
                    left -= len(found[-1])
        asked = {"pattern": word, "path": ROOT, "output_mode": "content", "-n": True}
        return Use("Grep", asked, "\n".join(found) or "No matches found")

    def _edit(self, _: int) -> Use:
        rng, name = self._rng, self._name()
        lines = self._files[name]
        at, length = rng.randrange(len(lines) - 8), rng.randrange(1, 7)
        old = lines[at : at + length]
        word = self._word(" ".join(old))
        lent = sources()[rng.choice(sorted(sources()))]
        start = rng.randrange(len(lent) - 6)
        new = [line.replace(word, f"{word}_{rng.getrandbits(12):x}") for line in old]
        new += lent[start : start + rng.randrange(6)]
        lines[at : at + length] = new
        self._edits.append(_Edit(name, at, old, new))
        asked = {"file_path": ROOT + name, "old_string": "\n".join(old), "new_string": "\n".join(new)}
        snippet = _numbered(lines, max(0, at - 6), at + len(new) + 6)
        return Use(
            "Edit", asked, f"The file {ROOT}{name} has been updated. Here's the result of `cat -n` on it:\n{snippet}"
        )

    def _test(self, size_bytes: int) -> Use:
        rng, name = self._rng, self._name()
        lines = self._files[name]
        tests = [line.split("(")[0].split()[-1] for line in lines if line.lstrip().startswith("def ")] or ["all"]
        marks = [
            f"tests/{name}::test_{test} {rng.choices(('PASSED', 'FAILED'), (30, 1))[0]} [{100 * i // len(tests):3}%]"
            for i, test in enumerate(tests)
        ]
        first = rng.randrange(max(1, len(lines) - 40))
        trace = [
            f"    {line}\nE   assert <object at 0x{rng.getrandbits(44):012x}> == {rng.getrandbits(20)}"
            if number % 17 == 16 else f"    {line}"
            for number, line in enumerate(lines[first : first + size_bytes // 80])
        ]  # fmt: skip
        result = (
            f"============ test session starts ============\nplatform linux -- Python 3.12.3, pytest-8.3.4\n"
            f"rootdir: {ROOT[:-1]}\ncollected {len(tests)} items\n\n" + "\n".join(marks[: size_bytes // 120])
            + "\n\n============ FAILURES ============\n" + "\n".join(trace)
            + f"\n\n======== {len(tests)} run in {rng.random() * 60:.2f}s ========"
        )  # fmt: skip
        return Use("Bash", {"command": f"python -m pytest tests/{name} -v 2>&1 | tail -200", "timeout": 120000}, result)

    def _log(self, size_bytes: int) -> Use:
        rng = self._rng
        second = rng.randrange(86_000)
        lines = [
            f"2026-03-0{1 + second % 7}T{second // 3600:02}:{second // 60 % 60:02}:{(second + i) % 60:02}."
            f"{rng.randrange(1000):03}Z {rng.choice(('INFO', 'DEBUG', 'WARN'))} [req={rng.getrandbits(64):016x}] "
            f"{rng.choice(sentences())[:60]} took_ms={rng.randrange(900)}"
            for i in range(min(60, size_bytes // 130))
        ]
        return Use("Bash", {"command": f"tail -{len(lines)} server.log"}, "\n".join(lines))

    def _history(self, size_bytes: int) -> Use:
        rng = self._rng
        commits = [
            f"{rng.getrandbits(40):010x} {rng.choice(sentences())[:70]}" for _ in range(min(40, size_bytes // 80))
        ]
        return Use("Bash", {"command": f"git log --oneline -{len(commits)}"}, "\n".join(commits))

    def _diff(self, size_bytes: int) -> Use:
        shown = [self._hunk(edit) for edit in self._edits[-max(1, size_bytes // 1_000) :]]
        return Use("Bash", {"command": "git diff"}, "\n".join(shown))

    def _hunk(self, edit: _Edit) -> str:
        lines, at = self._files[edit.name], edit.line
        body = [f" {line}" for line in lines[max(0, at - 3) : at]]
        body += [f"-{line}" for line in edit.old] + [f"+{line}" for line in edit.new]
        body += [f" {line}" for line in lines[at + len(edit.new) : at + len(edit.new) + 3]]
        index = f"{self._rng.getrandbits(40):010x}..{self._rng.getrandbits(40):010x}"
        return (
            f"diff --git a/{edit.name} b/{edit.name}\nindex {index} 100644\n--- a/{edit.name}\n+++ b/{edit.name}\n"
            f"@@ -{at},{len(edit.old) + 6} +{at},{len(edit.new) + 6} @@\n" + "\n".join(body)
        )

    def _word(self, text: str) -> str:
        return self._rng.choice(_WORD.findall(text) or ["self"])

    def _name(self) -> str:
        """Choose a file, the first ones more often."""
        names = list(self._files)
        return names[int(len(names) * self._rng.random() ** 2)]


def _sizes(lines: Sequence[str], first: int, each: int) -> list[tuple[int, int]]:
    """Return how much is in the lines from the first to before each later one."""
    total, sizes = 0, []
    for number in count(first):
        if number >= len(lines):
            return sizes
        sizes.append((number, total))
        total += len(lines[number]) + each
    raise AssertionError


def _numbered(lines: Sequence[str], first: int, last: int) -> str:
    """Return lines as `cat -n` shows them."""
    return "\n".join(f"{number + 1:6}\t{line}" for number, line in enumerate(lines[first:last], first))
