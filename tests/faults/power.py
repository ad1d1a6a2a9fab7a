"""Power cuts on real file systems: what was not yet on the disk is gone, and the store must not mind.

A child lives on ext4 or xfs and is promised things, which it writes down elsewhere. At some moment
the power of its disks goes: at a random time, at a step of the write protocol, or right behind a
promise. Sometimes another program has just synced a file of its own, as one always may: that makes
renames durable whose files are not. The disks are mounted again, the oracle judges, and the same
store lives on until its next cut.

Two machines take turns. On one everything lies on one file system, whose journal keeps the order
of renames for whoever forgets to sync. On the other the database, the blobs, the journals and the
snapshots lie on disks that know nothing of one another: there a missing sync shows. After some
cuts the database is lost as well: then snapshot and journal together must hold every promise. Some
lives begin with such a loss, so that the cut meets the rebuild.

A store that lacks one sync, and the cuts after which it was noticed (seed 10):

    own segment 3, the application's journal 3, blob 4, rejected lines 4, FORMAT 7, manifest of a
    snapshot 8, its Parquet 12, snapshots/ 15, removals 15

Not in 24 cuts: the directories of blobs, shards and segments, and the rest. Their syncs stand between
others of the same disk, and on ext4 and xfs any sync commits earlier renames; `trace` notices them.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count as numbers
from pathlib import Path

from tests.faults import acks, disks, kill, oracle, steps, workload
from tests.faults.acks import Ack
from tests.faults.machine import Machine
from tests.faults.report import KEPT, Report, keep
from tests.faults.zygote import Zygote

CAMPAIGN = "power cuts"
LIVES = 3
"""Cuts that one store goes through."""
RECORDS_OF_A_LIFE = 200
"""More than one life has; the next one starts beyond."""
LOSES: tuple[kill.Loses, ...] = ("never", "never", "never", "after", "torn after")


@dataclass(frozen=True, slots=True)
class Moment:
    """When the power goes: at a time in seconds, after so many promises, or at a step's nth time."""

    kind: str
    after_s: float = 0.0
    nth: int = 0
    step: str = ""
    when: steps.When = "before"

    def __str__(self) -> str:
        at = {"time": f"{self.after_s:.3f} s", "promise": f"event {self.nth}"}
        return at.get(self.kind) or f"{self.when} {self.step!r} {self.nth}"


def run(
    count: int,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
    *,
    without: str | None = None,
    kinds: Sequence[str] = disks.FILE_SYSTEMS,
) -> Report:
    """Cut the power so many times.

    A canary lacks the safety step ``without``, and has done its part with the first violation.
    Otherwise the files of a cut that broke a promise are kept.
    """
    report = Report(CAMPAIGN if without is None else f"{CAMPAIGN} without {without}", seed)
    machines = [(kind, apart) for apart in (True, False) for kind in kinds]
    with disks.workshop() as shop, Zygote() as zygote:
        moments = _moments(zygote, shop / "model", seed)
        for number in numbers():
            kind, apart = machines[number % len(machines)]
            with closing(Machine(shop / str(number), kind, apart)) as machine:
                for violations, about, notes in _Trial(machine, zygote, seed * 1000 + number, without).lives(moments):
                    if violations and without is None and len(report.violations) < KEPT:
                        about += f", kept in {keep(machine.copy, about.replace(' ', '-'))}"
                    report.add(violations, about, [kind, *notes])
                    if report.tries >= count or (violations and without is not None):
                        return report
            if number % 20 == 19:
                say(str(report))
    raise AssertionError("unreachable")


class _Trial:
    """One store, cut after cut."""

    def __init__(self, machine: Machine, zygote: Zygote, seed: int, without: str | None) -> None:
        self.machine, self.zygote, self.seed, self.without = machine, zygote, seed, without
        self.rng = random.Random(f"power {seed}")

    def lives(self, moments: "_Moments") -> Iterator[tuple[list[str], str, list[str]]]:
        """Yield the violations of each cut, what it was, and notes; the first violation ends the store."""
        self.machine.prepare(self.zygote)
        for life in range(LIVES):
            rebuilds = life > 0 and self.rng.random() < 0.2
            moment = moments.choose(self.rng, rebuilds)
            someone_syncs = self.rng.random() < 0.3
            self._live_until(moment, life, someone_syncs, rebuilds)
            loses = self.rng.choice(LOSES)
            notes: list[str] = []
            violations = self._judge(loses, notes)
            about = f"{self.machine.name}, store {self.seed}, life {life}, cut at {moment}"
            about += ", while it rebuilt" if rebuilds else ""
            about += ", somebody synced" if someone_syncs else ""
            yield violations, about + (f", database lost {loses}" if loses != "never" else ""), notes
            if violations:
                return

    def _live_until(self, moment: Moment, life: int, someone_syncs: bool, rebuilds: bool) -> None:
        machine = self.machine
        machine.start()
        if rebuilds:
            kill.Place(machine.store.parent).lose_database()
        places = (str(machine.store), str(machine.journal), str(machine.acks))
        child = self.zygote.start(live, *places, self.seed, life * RECORDS_OF_A_LIFE, self.without, moment)
        if moment.kind == "time":
            time.sleep(moment.after_s)
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGSTOP)  # all disks go at once: it must not notice the first
            machine.cut(someone_syncs)
            child.kill()
            outcome = child.wait()
        else:  # it ends itself there, and the power goes before anything else happens
            outcome = child.wait()
            machine.cut(someone_syncs)
        machine.stop()
        assert outcome.error is None, outcome.error
        assert not outcome.hung

    def _judge(self, loses: kill.Loses, notes: list[str]) -> list[str]:
        machine = self.machine
        machine.start()
        try:
            machine.take_copy()
            files = str(machine.store), str(machine.journal)
            outcome = self.zygote.run(judge, *files, self.seed, acks.read(machine.acks), loses)
            if outcome.value is None:
                return [f"the oracle failed: {outcome.error or outcome}"]
            violations, found = outcome.value
            notes += found
            return violations
        finally:
            machine.stop()


@dataclass
class _Moments:
    """What a life of a store can be cut at."""

    seconds: float
    events: int
    steps: dict[str, int]

    def choose(self, rng: random.Random, rebuilds: bool) -> Moment:
        """Choose a moment; a step that comes often is no likelier than a rare one."""
        kind = rng.choice(("time", "step", "step") if rebuilds else ("time", "step", "promise"))
        if kind == "time":
            return Moment(kind, after_s=rng.uniform(0, self.seconds))
        if kind == "promise":
            return Moment(kind, nth=rng.randint(1, self.events))
        met = {name for name, times in self.steps.items() if times}
        step = rng.choice(sorted(met & steps.REBUILD_STEPS.keys() if rebuilds else met - steps.REBUILD_STEPS.keys()))
        return Moment(kind, step=step, nth=rng.randint(1, self.steps[step]), when=rng.choice(("before", "after")))


def _moments(zygote: Zygote, model: Path, seed: int) -> _Moments:
    """Let a store live undisturbed, lose its database and live on, and see what happens then."""
    model.mkdir()
    files = str(model / "store"), str(model / "journal"), str(model / "acks")
    begun = zygote.run(live, *files, seed, 0, None, None)
    assert begun.value is not None, begun
    events = len(acks.read(files[2]))
    kill.Place(model).lose_database()
    start = time.monotonic()
    outcome = zygote.run(steps.count_steps, live, *files, seed, RECORDS_OF_A_LIFE, None, None)
    assert outcome.value is not None, outcome
    seconds = 2 * (time.monotonic() - start)  # a real file system is slower
    shutil.rmtree(model)
    return _Moments(seconds, events, outcome.value)


def live(
    store: str, journal: str, promises: str, seed: int, start: int, without: str | None, moment: Moment | None
) -> int:
    """Run the workload up to a moment of its own. For a process of its own."""
    if without is not None:
        steps.remove(without)
    ack = acks.appending_to(promises)
    if moment is not None and moment.kind == "step":
        steps.kill_at(moment.step, moment.when, moment.nth)
    if moment is not None and moment.kind == "promise":
        ack = _last(ack, moment.nth)
    return workload.run(store, journal, seed, ack, start=start)


def judge(
    store: str, journal: str, seed: int, promised: list[acks.Event], loses_database: kill.Loses
) -> tuple[list[str], list[str]]:
    """Ask the oracle; return violations and notes. For a process of its own."""
    notes: list[str] = []
    place = kill.Place(Path(store).parent)
    if loses_database == "after":
        place.lose_database()
    elif loses_database == "torn after":
        place.tear_database()
    return oracle.check(store, journal, seed, promised, notes=notes), notes


def _last(ack: Ack, nth: int) -> Ack:
    """End the process by kill -9 behind the nth event."""
    left = nth

    def final(event: acks.Event) -> None:
        nonlocal left
        ack(event)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return final
