"""Power cuts on real file systems: what was not yet on the disk is gone, and the store must not mind.

A child lives on ext4 or xfs and is promised things, which it writes down elsewhere. At some moment
the power of its disks goes: at a random time, at a step of the write protocol, or right behind a
promise. Sometimes another program has just synced a file of its own, as one always may: that makes
renames durable whose files are not. The disks are mounted again, the oracle judges, and the same
store lives on until its next cut.

Two machines take turns. On one everything lies on one file system, whose journal keeps the order
of renames for whoever forgets to sync. On the other the database, the blobs, the journals and the
snapshots lie on disks that know nothing of one another: there a missing sync shows. After some
cuts the database is lost as well: then snapshot and journal together must hold every promise.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count as numbers
from pathlib import Path

from tests.faults import acks, disks, kill, oracle, steps, workload
from tests.faults.acks import Ack
from tests.faults.report import KEPT, Report, keep
from tests.faults.zygote import Zygote
from tracestore import TraceStore

CAMPAIGN = "power cuts"
LIVES = 3
"""Cuts that one store goes through."""
RECORDS_OF_A_LIFE = 200
"""More than one life has; the next one starts beyond."""
PARTS = ("blobs", "journal", "snapshots")
"""Directories of a store that may lie on a disk of their own."""
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
            with _machine(shop / str(number), kind, apart) as machine:
                for violations, about, notes in _Trial(machine, zygote, seed * 1000 + number, without).lives(moments):
                    if violations and without is None and len(report.violations) < KEPT:
                        about += f", kept in {keep(machine.copy, about.replace(' ', '-'))}"
                    report.add(violations, about, [kind, *notes])
                    if report.tries >= count or (violations and without is not None):
                        return report
            if number % 20 == 19:
                say(str(report))
    raise AssertionError("unreachable")


class Machine:
    """One disk or several, and a store on them."""

    def __init__(self, directory: Path, kind: str, apart: bool) -> None:
        directory.mkdir()
        self.name = f"{kind} {'on four disks' if apart else 'on one disk'}"
        self.acks = directory / "acks"
        self.copy = directory / "copy"
        """Files of the store as the last cut left them."""
        self.store = directory / "store" / "store"
        self.journal = directory / ("journal" if apart else "store") / "app.ndjson"
        self._bound = {directory / part / "files": self.store / part for part in PARTS} if apart else {}
        self._mounted: list[Path] = []
        self._disks: dict[Path, disks.Disk] = {}
        for name in ("store", *PARTS) if apart else ("store",):
            disks.format_image(directory / f"{name}.image", kind)
            self._disks[directory / name] = disks.Disk(directory / f"{name}.image", kind)

    def prepare(self, zygote: Zygote) -> None:
        """Make what must be there before a store can lie on several disks: the store, without a record."""
        if not self._bound:
            return
        self._mount_disks()
        made = zygote.run(make_store, str(self.store))
        assert made.error is None, made.error
        for files, part in self._bound.items():
            part.mkdir(mode=0o700, exist_ok=True)
            shutil.copytree(part, files)
        self.stop()

    def start(self) -> None:
        """Mount everything."""
        self._mount_disks()
        for files, part in self._bound.items():
            disks.bind(files, part)
            self._mounted.append(part)

    def stop(self) -> None:
        """Unmount everything."""
        while self._mounted:
            disks.unmount(self._mounted.pop())

    def _mount_disks(self) -> None:
        for place, disk in self._disks.items():
            disk.mount(place)
            self._mounted.append(place)

    def cut(self, someone_syncs: bool) -> None:
        """Take the power from all disks; maybe another program has just synced a file on each."""
        if someone_syncs:
            for place in self._disks:
                _sync_a_file(place / "other")
        for place in self._disks:
            disks.cut_power(place)

    def take_copy(self) -> None:
        """Copy what the cut has left, and the promises."""
        shutil.rmtree(self.copy, ignore_errors=True)
        self.copy.mkdir()
        if self.store.exists():
            shutil.copytree(self.store, self.copy / "store", symlinks=True)
        for file in (self.journal, self.acks):
            if file.exists():
                shutil.copy(file, self.copy)

    def close(self) -> None:
        """Let the disks go."""
        self.stop()
        for disk in self._disks.values():
            disk.close()
            disk.image.unlink()


class _Trial:
    """One store, cut after cut."""

    def __init__(self, machine: Machine, zygote: Zygote, seed: int, without: str | None) -> None:
        self.machine, self.zygote, self.seed, self.without = machine, zygote, seed, without
        self.rng = random.Random(f"power {seed}")

    def lives(self, moments: "_Moments") -> Iterator[tuple[list[str], str, list[str]]]:
        """Yield the violations of each cut, what it was, and notes; the first violation ends the store."""
        self.machine.prepare(self.zygote)
        for life in range(LIVES):
            moment = moments.choose(self.rng)
            someone_syncs = self.rng.random() < 0.3
            self._live_until(moment, life, someone_syncs)
            loses = self.rng.choice(LOSES)
            notes: list[str] = []
            violations = self._judge(loses, notes)
            about = f"{self.machine.name}, store {self.seed}, life {life}, cut at {moment}"
            about += ", somebody synced" if someone_syncs else ""
            yield violations, about + (f", database lost {loses}" if loses != "never" else ""), notes
            if violations:
                return

    def _live_until(self, moment: Moment, life: int, someone_syncs: bool) -> None:
        machine = self.machine
        machine.start()
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

    def choose(self, rng: random.Random) -> Moment:
        """Choose a moment; a step that comes often is no likelier than a rare one."""
        kind = rng.choice(("time", "step", "promise"))
        if kind == "time":
            return Moment(kind, after_s=rng.uniform(0, self.seconds))
        if kind == "promise":
            return Moment(kind, nth=rng.randint(1, self.events))
        step = rng.choice([name for name, times in self.steps.items() if times])
        return Moment(kind, step=step, nth=rng.randint(1, self.steps[step]), when=rng.choice(("before", "after")))


def _moments(zygote: Zygote, model: Path, seed: int) -> _Moments:
    """Let a store live undisturbed, and see what happens in its life."""
    model.mkdir()
    places = (str(model / "store"), str(model / "journal"), str(model / "acks"))
    start = time.monotonic()
    outcome = zygote.run(steps.count_steps, live, *places, seed, 0, None, None)
    assert outcome.value is not None, outcome
    seconds = 2 * (time.monotonic() - start)  # a real file system is slower
    events = len(acks.read(model / "acks"))
    shutil.rmtree(model)
    return _Moments(seconds, events, outcome.value)


def make_store(path: str) -> None:
    """Make an empty store. For a process of its own."""
    TraceStore(path).close()


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


@contextmanager
def _machine(directory: Path, kind: str, apart: bool) -> Iterator[Machine]:
    machine = Machine(directory, kind, apart)
    try:
        yield machine
    finally:
        machine.close()


def _sync_a_file(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, b"somebody else's")
        os.fsync(fd)
    finally:
        os.close(fd)
