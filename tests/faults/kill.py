"""kill -9 at random moments and at every named step, each followed by the oracle.

A try takes a store that has lived one cycle (a copy of a template) or nothing at all, runs the
workload on it in a forked child, lets it die, and asks the oracle in another child. Half of the
tries die at a moment drawn from the length of a run, half at a step: before and after, at the
first to the last time that a run comes to it. In a quarter of the tries a second thread prunes
while the first one writes. In some the database is lost: before the run, which then dies in a
rebuild or behind it, or after it, deleted or torn, so that the oracle itself has it rebuilt.

kill -9 loses nothing that was written: so the stores lie in memory (/dev/shm), and what a missing
fsync loses is for the power cuts to find.
"""

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from tests.faults import acks, oracle, steps, workload
from tests.faults.report import Report
from tests.faults.zygote import Outcome, Zygote

CAMPAIGN = "kill"
WORKERS = 2
RUN_S = 0.45
"""About the length of a run; a random moment is drawn from so much."""
Loses = Literal["never", "before", "after", "torn after"]
PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Try:
    """One death: at a step, or after some seconds."""

    number: int
    from_nothing: bool
    threads: bool
    loses_database: Loses = "never"
    after_s: float = 0.0
    step: str | None = None
    when: steps.When = "before"
    nth: int = 1

    def __str__(self) -> str:
        where = f"{self.when} {self.step!r} no. {self.nth}" if self.step else f"after {self.after_s:.3f} s"
        store = "nothing" if self.from_nothing else "a template"
        lost = f", database lost: {self.loses_database}" if self.loses_database != "never" else ""
        return f"try {self.number} ({where}, from {store}{', threads' if self.threads else ''}{lost})"


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

    def lose_database(self) -> None:
        """Delete the database file and its write-ahead log."""
        for name in ("records.duckdb", "records.duckdb.wal"):
            (self.root / "store" / name).unlink(missing_ok=True)

    def tear_database(self) -> None:
        """Lose every eighth page of the database file, as a disk does that lied about its cache."""
        path = self.root / "store" / "records.duckdb"
        if not path.exists():
            return
        with path.open("r+b") as file:
            for offset in range(PAGE_BYTES, path.stat().st_size, 8 * PAGE_BYTES):
                file.seek(offset)
                file.write(bytes(PAGE_BYTES))


def run(count: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Report:
    """Kill so many processes; return what the oracle found."""
    report = Report(CAMPAIGN, seed)
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="tracestore-kill-", dir=memory if memory.is_dir() else None))
    idle: SimpleQueue[_Worker] = SimpleQueue()
    with ExitStack() as stack:
        stack.callback(lambda: report.violations or shutil.rmtree(root))
        workers = [_Worker(root / f"worker{n}", stack.enter_context(Zygote()), seed) for n in range(WORKERS)]
        for worker in workers:
            idle.put(worker)
        hits = workers[0].count_steps()

        def one(attempt: Try) -> None:
            worker = idle.get()
            try:
                worker.judge(attempt, report)
            finally:
                idle.put(worker)
            if report.tries % 500 == 0:
                say(str(report))

        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(one, tries(count, seed, hits)):
                pass
    return report


class _Worker:
    """A zygote and the place where its tries live, which is always the same: a store knows its journals by path."""

    def __init__(self, root: Path, zygote: Zygote, seed: int) -> None:
        self._place = Place(root)
        self._template = root.with_name(f"{root.name}-template")
        self._zygote, self._seed = zygote, seed
        root.mkdir()
        self._start = _checked(zygote.run(live, self._place, seed, 0))
        root.rename(self._template)

    def count_steps(self) -> dict[str, int]:
        """Return how often a run comes to each step, those of a rebuild in a run after the loss of the database."""
        self._furnish(from_nothing=False)
        hits = _checked(self._zygote.run(steps.count_steps, live, self._place, self._seed, self._start))
        self._furnish(from_nothing=False)
        self._place.lose_database()
        rebuilt = _checked(self._zygote.run(steps.count_steps, live, self._place, self._seed, self._start))
        return hits | {step: rebuilt[step] for step in steps.REBUILD_STEPS}

    def judge(self, attempt: Try, report: Report) -> None:
        """Let a process die and report what the oracle finds."""
        self._furnish(attempt.from_nothing)
        place, seed = self._place, self._seed
        child = self._zygote.start(die, attempt, place, seed, 0 if attempt.from_nothing else self._start)
        if not attempt.step:
            time.sleep(attempt.after_s)
            child.kill()
        outcome = child.wait()
        violations, notes = _verdict(self._zygote.run(judge, place, seed, attempt.loses_database))
        if outcome.error or outcome.hung:
            violations.append(f"the run itself failed: {outcome.error or 'it hung'}")
        if violations:
            kept = place.root.rename(place.root.with_name(f"kept-{attempt.number}"))
            report.violations.append(f"{attempt}, kept in {kept}: {oracle.describe(violations)}")
        if outcome.was_killed:
            report.add((), notes=notes)
        else:  # it came to its end before its death, as runs differ
            report.notes["survived"] += 1

    def _furnish(self, from_nothing: bool) -> None:
        """Make the place new: empty, or as the template is."""
        shutil.rmtree(self._place.root, ignore_errors=True)
        if from_nothing:
            self._place.root.mkdir()
        else:
            shutil.copytree(self._template, self._place.root)


def tries(count: int, seed: int, hits: dict[str, int]) -> Iterator[Try]:
    """Yield tries: by turns at a step and at a random moment. Steps come round in a shuffled order."""
    rng = random.Random(seed)
    places: list[tuple[str, steps.When, int]] = []
    for number in range(count):
        from_nothing, threads = rng.random() < 0.2, rng.random() < 0.25
        loses: Loses = rng.choices(["never", "before", "after", "torn after"], [7, 1, 1, 1])[0]
        if from_nothing and loses == "before":
            loses = "never"
        if number % 2:
            yield Try(number, from_nothing, threads, loses, rng.random() * RUN_S)
            continue
        if not places:
            places = _places(hits)
            rng.shuffle(places)
        step, when, nth = places.pop()
        if step in steps.REBUILD_STEPS:
            from_nothing, loses = False, "before"
        yield Try(number, from_nothing, threads, loses, step=step, when=when, nth=nth)


def _places(hits: dict[str, int]) -> list[tuple[str, steps.When, int]]:
    whens: tuple[steps.When, ...] = ("before", "after")
    return [(step, when, nth + 1) for step, times in hits.items() for nth in range(times) for when in whens]


def live(place: Place, seed: int, start: int, threads: bool = False) -> int:
    """Run the workload; return the number after the last record."""
    ack = acks.appending_to(place.acks)
    return workload.run(place.store, place.journal, seed, ack, start=start, threads=threads)


def die(attempt: Try, place: Place, seed: int, start: int) -> None:
    """Run the workload until the step at which to die."""
    if attempt.loses_database == "before":
        place.lose_database()
    if attempt.step:
        steps.kill_at(attempt.step, attempt.when, attempt.nth)
    live(place, seed, start, attempt.threads)


def judge(place: Place, seed: int, loses_database: Loses = "never") -> tuple[list[str], list[str]]:
    """Return the oracle's violations and notes."""
    notes: list[str] = []
    if loses_database == "after":
        place.lose_database()
    elif loses_database == "torn after":
        place.tear_database()
    return oracle.check(place.store, place.journal, seed, acks.read(place.acks), notes=notes), notes


def _verdict(outcome: Outcome) -> tuple[list[str], Sequence[str]]:
    if outcome.value is None:
        return [f"the oracle failed: {outcome.error or outcome}"], ()
    violations, notes = outcome.value
    return violations, notes


def _checked(outcome: Outcome) -> Any:
    if outcome.value is None:
        raise RuntimeError(f"the workload fails without any fault: {outcome.error or outcome}")
    return outcome.value
