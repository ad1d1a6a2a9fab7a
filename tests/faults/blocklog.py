"""Every state that a power cut may leave on a disk: block writes recorded once, replayed in part.

One life of a store is recorded write by write, with its promises as marks in the same log. A cut
at one place of the log leaves what stood before the last flush, and of what came since:

    prefix      every write up to the cut, as a disk without a cache leaves it
    torn        the same, but of the last write only some of its 4 KiB pages
    reordered   any of the writes since the flush, each whole or some of its pages: a disk's cache

Each state is mounted, so that the file system mends itself, and judged by the oracle with the
promises that were given before the cut; in some the database is lost as well. Many states mount to
the same files: those are judged once for each number of promises.
"""

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from tests.faults import acks, blockdevice, disks, kill, power
from tests.faults.acks import Event
from tests.faults.blockdevice import Entry, Flush, Mark, Write
from tests.faults.report import KEPT, Report, keep
from tests.faults.zygote import Zygote

CAMPAIGN = "block log"
STATES_EACH = 500
"""States replayed of one recording; recordings alternate between the file systems."""


@dataclass(frozen=True, slots=True)
class State:
    """A cut: everything up to the entry ``flushed`` is on the disk, and then the bytes of ``writes``."""

    kind: str
    at: int
    """The cut stands before this entry of the log."""
    flushed: int
    writes: Sequence[Write]
    loses_database: kill.Loses
    """What happens to the database on top of that."""


def run(
    count: int,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
    *,
    without: str | None = None,
    kinds: Sequence[str] = disks.FILE_SYSTEMS,
) -> Report:
    """Replay so many states.

    A canary lacks the safety step ``without``, and has done its part with the first violation. A
    recording is never the same twice, for its threads run as they like; so the files of a state
    that broke a promise are kept.
    """
    report = Report(CAMPAIGN if without is None else f"{CAMPAIGN} without {without}", seed)
    with disks.workshop() as shop, Zygote() as zygote:
        while report.tries < count:
            number = report.tries // STATES_EACH
            kind = kinds[number % len(kinds)]
            recorded = Recording(shop / str(number), kind, seed + number)
            recorded.record(zygote, without)
            for violations, about, notes in recorded.replay(zygote, min(STATES_EACH, count - report.tries)):
                if violations and without is None and len(report.violations) < KEPT:
                    about += f", kept in {recorded.keep()}"
                report.add(violations, about, notes)
                if violations and without is not None:
                    return report
            say(str(report))
    return report


@dataclass
class Recording:
    """One life of a store on one disk, and what is needed to bring back any moment of it."""

    directory: Path
    kind: str
    seed: int
    log: list[Entry] = field(default_factory=list)
    judged: set[tuple[bytes, int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.base, self.probe = self.directory / "base", self.directory / "probe"
        self.mounted = self.directory / "mounted"
        self._files = str(self.mounted / "store"), str(self.mounted / "app.ndjson")

    def record(self, zygote: Zygote, without: str | None) -> None:
        """Let the workload run on a disk that writes everything down."""
        image, log = self.directory / "image", self.directory / "log"
        disks.format_image(image, self.kind)
        disks.dig_holes(image)
        disks.copy_image(image, self.base)
        with ExitStack() as stack:
            served = stack.enter_context(blockdevice.recording(image, log, self.directory / "served"))
            disk = disks.Disk(served.disk, self.kind)
            stack.callback(disk.close)
            disk.mount(self.mounted)
            stack.callback(disks.unmount, self.mounted)
            outcome = zygote.run(power.live, *self._files, str(served.marks), self.seed, 0, without, None)
            assert outcome.value is not None, f"the workload failed: {outcome}"
        self.log = blockdevice.read_log(log)
        log.unlink()
        image.unlink()

    def replay(self, zygote: Zygote, count: int) -> Iterator[tuple[list[str], str, list[str]]]:
        """Judge so many states, in the order of the log; yield violations, what the state was, and notes."""
        disks.copy_image(self.base, self.probe)
        with ExitStack() as stack:
            disk = disks.Disk(self.probe, self.kind)
            stack.callback(disk.close)
            base = stack.enter_context(self.base.open("r+b", buffering=0))
            done = 0
            for state in self.states(count):
                _apply(base.fileno(), [entry for entry in self.log[done : state.flushed] if isinstance(entry, Write)])
                done = state.flushed
                notes = [state.kind]
                self._bring_back(state)
                violations = self._judge(zygote, disk, state, notes)
                self._latest = disk, state
                about = f"{self.kind}, seed {self.seed}, {state.kind} at {state.at} of {len(self.log)}"
                yield violations, f"{about}, database lost {state.loses_database}", notes
        self.probe.unlink()
        self.base.unlink()

    def keep(self) -> Path:
        """Copy the files of the state that was yielded last; return where they are."""
        disk, state = self._latest
        self._bring_back(state)
        disk.mount(self.mounted)
        (self.mounted / "promised.json").write_text(json.dumps(self.promises(state.at)))
        kept = keep(self.mounted, f"{self.kind}-{self.seed}-{state.kind}-{state.at}")
        disks.unmount(self.mounted)
        return kept

    def _bring_back(self, state: State) -> None:
        """Put a state on the probe; the base stands at its last flush."""
        disks.copy_image(self.base, self.probe)
        with self.probe.open("r+b", buffering=0) as file:
            _apply(file.fileno(), state.writes)

    def states(self, count: int) -> Iterator[State]:
        """Choose states; the seed decides."""
        rng = random.Random(f"states {self.seed} {self.kind}")
        places = [place for place, entry in enumerate(self.log) if isinstance(entry, Write)]
        for place in sorted(rng.choices(places, k=count)):
            flushed = max((n for n in range(place) if isinstance(self.log[n], Flush)), default=0)
            since = [entry for entry in self.log[flushed:place] if isinstance(entry, Write)]
            last = self.log[place]
            assert isinstance(last, Write)
            kind = rng.choice(("prefix", "torn", "reordered", "reordered"))
            if kind == "torn" and len(last.pages) > 1:
                writes = [*since, *_some(rng, last.pages)]
            elif kind == "reordered":
                writes = _reordered(rng, [*since, last])
            else:
                kind, writes = "prefix", since
            loses: kill.Loses = rng.choices(("never", "after", "torn after"), (8, 1, 1))[0]
            yield State(kind, place, flushed, writes, loses)

    def promises(self, at: int) -> list[Event]:
        """Return what had been promised before an entry of the log."""
        return acks.parse(b"".join(entry.text for entry in self.log[:at] if isinstance(entry, Mark)))

    def _judge(self, zygote: Zygote, disk: disks.Disk, state: State, notes: list[str]) -> list[str]:
        promised = self.promises(state.at)
        try:
            disk.mount(self.mounted)
        except OSError as error:
            return [f"the file system does not mount: {error}"]
        try:
            known = (_fingerprint(self.mounted), len(promised), state.loses_database)
            if known in self.judged:
                return []
            self.judged.add(known)
            notes.append("different")
            outcome = zygote.run(power.judge, *self._files, self.seed, promised, state.loses_database)
            if outcome.value is None:
                return [f"the oracle failed: {outcome.error or outcome}"]
            violations, found = outcome.value
            notes += found
            return violations
        finally:
            disks.unmount(self.mounted)


def _apply(fd: int, writes: Sequence[Write]) -> None:
    for write in writes:
        os.pwrite(fd, write.data, write.offset)


def _reordered(rng: random.Random, writes: Sequence[Write]) -> list[Write]:
    """Return any of these writes; the later of two to the same place stays the later."""
    share = rng.random()
    kept: list[Write] = []
    for write in writes:
        if rng.random() < share:
            kept += write.pages if rng.random() < 0.7 else _some(rng, write.pages)
    return kept


def _some(rng: random.Random, pages: Sequence[Write]) -> list[Write]:
    share = rng.random()
    return [page for page in pages if rng.random() < share]


def _fingerprint(root: Path) -> bytes:
    """Hash names, sizes and contents of everything below a directory."""
    hashed = blake3()
    for path in sorted(root.rglob("*")):
        content = path.read_bytes() if path.is_file() else b"\0directory"
        hashed.update(f"{path.relative_to(root)}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return hashed.digest()
