"""What a campaign did, as one line, and the files of the tries that broke a promise."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

KEPT = 10
"""Tries whose files a campaign keeps at most."""


@dataclass
class Report:
    """Tries and violations of one campaign; ``seed`` repeats it. Notes are counted by their text."""

    campaign: str
    seed: int
    tries: int = 0
    violations: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, violations: Iterable[str], about: str = "", notes: Iterable[str] = ()) -> None:
        """Count one try; ``about`` says how to find it again."""
        self.tries += 1
        self.violations += [f"{about}: {violation}" if about else violation for violation in violations]
        self.notes.update(notes)

    def __str__(self) -> str:
        notes = "".join(f", {text} {times}" for text, times in sorted(self.notes.items()))
        shown = "".join(f"\n    {violation}" for violation in self.violations[:20])
        return f"{self.campaign}: {self.tries} tries, {len(self.violations)} violations, seed {self.seed}{notes}{shown}"


def keep(files: Path, name: str) -> Path:
    """Copy the files of a try to where they outlive the campaign; return where."""
    place = Path(tempfile.mkdtemp(prefix="tracestore-kept-")) / name
    shutil.copytree(files, place, symlinks=True)
    return place
