"""Every state that a power cut may leave on a disk: block writes recorded once, replayed in part.

One life of a store is recorded write by write, with its promises as marks in the same log. A cut
at one place of the log leaves what stood before the last flush, and of what came since:

    prefix      every write up to the cut, as a disk without a cache leaves it
    torn        the same, but of the last write only some of its 4 KiB pages
    reordered   any of the writes since the flush, each whole or some of its pages: a disk's cache

Each state is mounted, so that the file system mends itself, and judged by the oracle with the
promises that were given before the cut. Many states mount to the same files: those are judged once
for each number of promises.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from tests.faults import acks, blockdevice, disks, oracle, steps, workload
from tests.faults.acks import Event
from tests.faults.blockdevice import Entry, Flush, Mark, Write
from tests.faults.report import Report
from tests.faults.zygote import Zygote

STATES_EACH = 400
"""States replayed of one recording; recordings alternate between the file systems."""


@dataclass(frozen=True, slots=True)
class State:
    """A cut: everything up to the entry ``flushed`` is on the disk, and then the bytes of ``writes``."""

    kind: str
    at: int
    """The cut stands before this entry of the log."""
    flushed: int
    writes: Sequence[Write]


def run(
    count: int,
    seed: int,
    *,
    without: str | None = None,
    kinds: Sequence[str] = disks.FILE_SYSTEMS,
    keep: Path | None = None,
    verbose: bool = False,
) -> Report:
    """Replay so many states; ``without`` names a safety step that the recorded store lacks.

    A recording is never the same twice, for its threads run as they like. So ``keep`` names a
    directory for the files of every state that broke a promise.
    """
    report = Report("block log" if without is None else f"block log without {without}", seed)
    with disks.workshop() as shop, Zygote() as zygote:
        while report.tries < count:
            number = report.tries // STATES_EACH
            kind = kinds[number % len(kinds)]
            recorded = Recording(shop / str(number), kind, seed + number)
            recorded.record(zygote, without)
            recorded.replay(zygote, report, min(STATES_EACH, count - report.tries), keep)
            if verbose:
                print(report, flush=True)  # noqa: T201
    return report


@dataclass
class Recording:
    """One life of a store on one disk, and what is needed to bring back any moment of it."""

    directory: Path
    kind: str
    seed: int
    log: list[Entry] = field(default_factory=list)
    judged: set[tuple[bytes, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.mounted = self.directory / "mounted"

    def record(self, zygote: Zygote, without: str | None) -> None:
        """Let the workload run on a disk that writes everything down."""
        image, log = self.directory / "image", self.directory / "log"
        disks.format_image(image, self.kind)
        disks.dig_holes(image)
        disks.copy_image(image, self.directory / "base")
        with ExitStack() as stack:
            served = stack.enter_context(blockdevice.recording(image, log, self.directory / "served"))
            disk = disks.Disk(served.disk, self.kind)
            stack.callback(disk.close)
            disk.mount(self.mounted)
            stack.callback(disks.unmount, self.mounted)
            outcome = zygote.run(_live, str(self.mounted), str(served.marks), self.seed, without)
            assert outcome.value is not None, f"the workload failed: {outcome}"
        self.log = blockdevice.read_log(log)
        log.unlink()
        image.unlink()

    def replay(self, zygote: Zygote, report: Report, count: int, keep: Path | None) -> None:
        """Judge so many states of the log, chosen by the seed, in the order of the log."""
        current, probe = self.directory / "base", self.directory / "probe"
        disks.copy_image(current, probe)
        disk = disks.Disk(probe, self.kind)
        done = 0
        with current.open("r+b", buffering=0) as file:
            for state in self.states(count):
                _apply(file.fileno(), [entry for entry in self.log[done : state.flushed] if isinstance(entry, Write)])
                done = state.flushed
                self._bring_back(state)
                about = f"{self.kind}, seed {self.seed}, {state.kind} at {state.at} of {len(self.log)}"
                notes: list[str] = []
                violations = self._judge(zygote, disk, state, notes)
                report.add(violations, about, [state.kind, *notes])
                if violations and keep is not None:
                    self._bring_back(state)
                    self._keep(disk, state, keep)
        disk.close()
        probe.unlink()
        current.unlink()

    def _bring_back(self, state: State) -> None:
        """Put a state on the probe; the base stands at its last flush."""
        probe = self.directory / "probe"
        disks.copy_image(self.directory / "base", probe)
        with probe.open("r+b", buffering=0) as file:
            _apply(file.fileno(), state.writes)

    def _keep(self, disk: disks.Disk, state: State, keep: Path) -> None:
        kept = keep / f"{self.kind}-{self.seed}-{state.kind}-{state.at}"
        disk.mount(self.mounted)
        shutil.copytree(self.mounted, kept, symlinks=True, dirs_exist_ok=True)
        disks.unmount(self.mounted)
        (kept / "promised.json").write_text(json.dumps(self.promises(state.at)))

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
                yield State(kind, place, flushed, [*since, *_some(rng, last.pages)])
            elif kind == "reordered":
                yield State(kind, place, flushed, _reordered(rng, [*since, last]))
            else:
                yield State("prefix", place, flushed, since)

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
            known = (_fingerprint(self.mounted), len(promised))
            if known in self.judged:
                return []
            self.judged.add(known)
            notes.append("different")
            outcome = zygote.run(judge, str(self.mounted), self.seed, promised)
            if outcome.error is not None or outcome.value is None:
                return [f"the oracle failed: {outcome}"]
            violations, found = outcome.value
            notes += found
            return violations
        finally:
            disks.unmount(self.mounted)


def judge(root: str, seed: int, promised: list[Event]) -> tuple[list[str], list[str]]:
    """Ask the oracle; return violations and notes. For a process of its own."""
    notes: list[str] = []
    return oracle.check(f"{root}/store", f"{root}/app.ndjson", seed, promised, notes=notes), notes


def _live(root: str, marks: str, seed: int, without: str | None) -> int:
    if without is not None:
        steps.remove(without)
    return workload.run(f"{root}/store", f"{root}/app.ndjson", seed, acks.appending_to(marks))


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
