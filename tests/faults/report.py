"""What a campaign did, as one line."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


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
