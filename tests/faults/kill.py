"""kill -9 at random moments and at every named step, each followed by the oracle.

A try takes a store that has lived one cycle (a copy of a template) or nothing at all, runs the
workload on it in a forked child, lets it die, and asks the oracle in another child. Half of the
tries die at a moment drawn from the length of a run, half at a step: before and after, at the
first to the last time that a run comes to it. In a quarter of the tries a second thread prunes
while the first one writes.

kill -9 loses nothing that was written: so the stores lie in memory (/dev/shm), and what a missing
fsync loses is for the power cuts to find.
"""

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.faults import acks, oracle, steps, workload
from tests.faults.report import Report
from tests.faults.zygote import Outcome, Zygote

CAMPAIGN = "kill"
WORKERS = 2
RUN_S = 0.45
"""About the length of a run; a random moment is drawn from so much."""


@dataclass(frozen=True, slots=True)
class Try:
    """One death: at a step, or after some seconds."""

    number: int
    from_nothing: bool
    threads: bool
    after_s: float = 0.0
    step: str | None = None
    when: steps.When = "before"
    nth: int = 1

    def __str__(self) -> str:
        where = f"{self.when} {self.step!r} no. {self.nth}" if self.step else f"after {self.after_s:.3f} s"
        store = "nothing" if self.from_nothing else "a template"
        return f"try {self.number} ({where}, from {store}{', threads' if self.threads else ''})"


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one try."""

    root: Path

    @property
    def store(self) -> str:
        """The store's directory."""
        return str(self.root / "store")

    @property
    def journal(self) -> str:
        """The producer's journal."""
        return str(self.root / "app.ndjson")

    @property
    def acks(self) -> str:
        """What was promised."""
        return str(self.root / "acks")


def run(count: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Report:
    """Kill so many processes; return what the oracle found."""
    report = Report(CAMPAIGN, seed)
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="tracestore-kill-", dir=memory if memory.is_dir() else None))
    zygotes: SimpleQueue[Zygote] = SimpleQueue()
    for _ in range(WORKERS):
        zygotes.put(Zygote())
    first = zygotes.get()
    template = Place(root / "template")
    template.root.mkdir()
    start = _checked(first.run(live, template, seed, 0))
    hits = _checked(first.run(steps.count_steps, live, _copy(template, root / "counted"), seed, start))
    zygotes.put(first)

    def one(attempt: Try) -> None:
        zygote = zygotes.get()
        try:
            place = _place(root / str(attempt.number), None if attempt.from_nothing else template)
            _try(zygote, attempt, place, seed, start, report)
        finally:
            zygotes.put(zygote)
        if report.tries % 500 == 0:
            say(str(report))

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(one, tries(count, seed, hits)):
            pass
    for _ in range(WORKERS):
        zygotes.get().close()
    if not report.violations:
        shutil.rmtree(root)
    return report


def tries(count: int, seed: int, hits: dict[str, int]) -> Iterator[Try]:
    """Yield tries: by turns at a step and at a random moment. Steps come round in a shuffled order."""
    rng = random.Random(seed)
    places: list[tuple[str, steps.When, int]] = []
    for number in range(count):
        about = {"from_nothing": rng.random() < 0.2, "threads": rng.random() < 0.25}
        if number % 2:
            yield Try(number, after_s=rng.random() * RUN_S, **about)
            continue
        if not places:
            places = _places(hits)
            rng.shuffle(places)
        step, when, nth = places.pop()
        yield Try(number, step=step, when=when, nth=nth, **about)


def _places(hits: dict[str, int]) -> list[tuple[str, steps.When, int]]:
    whens: tuple[steps.When, ...] = ("before", "after")
    return [(step, when, nth + 1) for step, times in hits.items() for nth in range(times) for when in whens]


def live(place: Place, seed: int, start: int, threads: bool = False) -> int:
    """Run the workload; return the number after the last record."""
    ack = acks.appending_to(place.acks)
    return workload.run(place.store, place.journal, seed, ack, start=start, threads=threads)


def die(attempt: Try, place: Place, seed: int, start: int) -> None:
    """Run the workload until the step at which to die."""
    if attempt.step:
        steps.kill_at(attempt.step, attempt.when, attempt.nth)
    live(place, seed, start, attempt.threads)


def judge(place: Place, seed: int) -> tuple[list[str], list[str]]:
    """Return the oracle's violations and notes."""
    notes: list[str] = []
    return oracle.check(place.store, place.journal, seed, acks.read(place.acks), notes=notes), notes


def _try(zygote: Zygote, attempt: Try, place: Place, seed: int, start: int, report: Report) -> None:
    child = zygote.start(die, attempt, place, seed, 0 if attempt.from_nothing else start)
    if not attempt.step:
        time.sleep(attempt.after_s)
        child.kill()
    outcome = child.wait()
    violations, notes = _verdict(zygote.run(judge, place, seed))
    if outcome.error or outcome.hung:
        violations.append(f"the run itself failed: {outcome.error or 'it hung'}")
    if outcome.was_killed:
        report.add(violations, f"{attempt} in {place.root}", notes)
    else:  # it came to its end before its death, as runs differ
        report.notes["survived"] += 1
        report.violations += violations
    if not violations:
        shutil.rmtree(place.root)


def _verdict(outcome: Outcome) -> tuple[list[str], Sequence[str]]:
    if outcome.value is None:
        return [f"the oracle failed: {outcome.error or outcome}"], ()
    violations, notes = outcome.value
    return violations, notes


def _place(root: Path, template: Place | None) -> Place:
    if template is None:
        root.mkdir()
        return Place(root)
    return _copy(template, root)


def _copy(template: Place, root: Path) -> Place:
    shutil.copytree(template.root, root)
    return Place(root)


def _checked(outcome: Outcome) -> object:
    if outcome.value is None:
        raise RuntimeError(f"the workload fails without any fault: {outcome.error or outcome}")
    return outcome.value
