"""Full disks, exhausted inodes, file systems gone read-only, lost permissions, clocks that jump.

A try lives one cycle of the workload under pressure, going on after each error with the store that
it has open; then the pressure is lifted, and it lives a second cycle with the same open store, and
a third with a newly opened one, which must meet no error at all. The oracle judges what is there, or
what is there when the database is then lost and made again.

    space, inodes    a tmpfs of so many bytes or inodes, enlarged later
    read-only        ext4 that stops writing in the midst, as it does after an error of the disk
    permission       a directory or file of the store loses its mode; root lays down its right to ignore modes
    clock            the store's clock jumps by up to decades between operations
"""

import ctypes
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tests.faults import disks, lives, workload
from tests.faults.acks import Ack, Event
from tests.faults.kill import Place
from tests.faults.report import Report
from tests.faults.zygote import Zygote

Kind = Literal["space", "inodes", "read-only", "permission", "clock"]
CAMPAIGN = "full"
KINDS: tuple[Kind, ...] = ("space", "inodes", "read-only", "permission", "clock")
ENOUGH = "size=64m,nr_inodes=0"
MAX_STEPS = 30
"""About the number of events in one cycle: the pressure begins behind one of them."""
TARGETS = (
    "store", "store/journal", "store/blobs", "store/blobs/objects", "store/blobs/stage", "store/blobs/packs",
    "store/tmp", "store/snapshots", "store/records.duckdb", "store/lock", "store/FORMAT", "store/blobs/FORMAT",
    "app.ndjson",
)  # fmt: skip
JUMPS_S = (0, 1, -1, 3_600, -3_600, 5 * 86_400, -5 * 86_400, 3_000 * 86_400, 30_000 * 86_400)
"""Backwards by no more than what lets a record expire: its age counts from when it came in, if that was earlier."""
_REMOUNT = 32
_CAPABILITIES_VERSION = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Try:
    """One pressure; ``amount`` is KiB, inodes, the event behind which it begins, or the seed of the jumps."""

    kind: Kind
    amount: int
    target: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}{f' {self.target}' if self.target else ''}"


def run(
    count: int, seed: int, say: Callable[[str], None] = lambda text: None, kinds: Sequence[Kind] = KINDS
) -> Report:
    """Do so many tries, the kinds by turns; those that need root are left out without it."""
    report = Report(CAMPAIGN, seed)
    rng = random.Random(f"full {seed}")
    chosen = [kind for kind in kinds if kind not in missing()]
    with working_directory(chosen) as root, Zygote() as zygote:
        for number in range(count):
            examine(zygote, attempt(rng, chosen[number % len(chosen)]), root, seed + number // len(chosen), report)
            if number % 50 == 49:
                say(str(report))
    return report


def missing() -> dict[str, str]:
    """Say which kinds cannot be done here, and why."""
    lacking = {}
    if os.geteuid() != 0:
        lacking = dict.fromkeys(("space", "inodes"), "full disks need root, to mount a tmpfs")
    if why := disks.missing("ext4"):
        lacking["read-only"] = why
    return lacking


def attempt(rng: random.Random, kind: Kind) -> Try:
    """Draw a try."""
    match kind:
        case "space":
            return Try(kind, rng.randrange(40, 2_500, 4))
        case "inodes":
            return Try(kind, rng.randrange(8, 120))
        case "permission":
            return Try(kind, rng.randrange(MAX_STEPS), rng.choice(TARGETS))
    return Try(kind, rng.randrange(MAX_STEPS if kind == "read-only" else 10**6))


def examine(zygote: Zygote, attempt: Try, root: Path, seed: int, report: Report) -> None:
    """Make one try and report what is wrong with how it ended and with what it left."""
    place = AckedElsewhere(root / "pressed", root / "acks")
    place.root.mkdir()
    with prepared(attempt, place.root, root) as mount_again:
        outcome = zygote.run(live, place, seed, attempt)
        mount_again()
        events = lives.read_events(place)
        violations = list(lives.ending(outcome, events))
        if not violations:
            outcome = zygote.run(live_on, place, seed, outcome.value)
            events_after = lives.read_events(place)[len(events) :]
            violations += lives.ending(outcome, events_after)
            violations += [f"after the pressure: {event['error']}" for event in events_after if event["op"] == "failed"]
        found, notes = lives.judge(zygote, place, seed, attempt.amount)
    told = "told" if any(event["op"] == "failed" for event in events) else "without effect"
    report.add(violations + found, f"{attempt}, seed {seed}", [f"{attempt.kind} {told}", *notes])
    Path(place.acks).unlink()
    shutil.rmtree(place.root)


@dataclass(frozen=True, slots=True)
class AckedElsewhere(Place):
    """The files of a try, with its acknowledgements out of the pressure's reach."""

    acked: Path = Path()

    @property
    def acks(self) -> str:
        """What was promised."""
        return str(self.acked)


def live(place: AckedElsewhere, seed: int, attempt: Try) -> int:
    """Live one cycle under pressure, and one more with the same open store when it is lifted."""
    life = Pressed(place, seed, attempt)
    life.live(None if attempt.kind == "read-only" else life.lift)
    life.lift()
    life.ack(lives.ENDED)
    return life.next_number


def live_on(place: AckedElsewhere, seed: int, start: int) -> None:
    """Live one cycle when all is well again."""
    life = lives.Stubborn(place, seed, lives.acking_in_memory(place.acks), start)
    life.live()
    life.ack(lives.ENDED)


class Pressed(lives.Stubborn):
    """A life on which the pressure sets in behind one of its events."""

    def __init__(self, place: AckedElsewhere, seed: int, attempt: Try) -> None:
        super().__init__(place, seed, self._noting(lives.acking_in_memory(place.acks)))
        self._attempt: Try | None = attempt
        self._place = place
        self._rng = random.Random(f"jumps {attempt.amount}")
        self._events = 0
        self._jump_ns = 0
        self._mode: int | None = None
        if attempt.kind == "permission":
            obey_modes()

    def lift(self) -> None:
        """Let everything be as it was; may be called twice."""
        attempt, self._attempt, self._jump_ns = self._attempt, None, 0
        if attempt and attempt.kind in ("space", "inodes"):
            remount(self._place.root, ENOUGH)
        if attempt and self._mode is not None:
            (self._place.root / attempt.target).chmod(self._mode)

    def now_ns(self) -> int:
        return super().now_ns() + self._jump_ns

    def step(self, do: Callable[..., None], *args: Any) -> None:
        if self._attempt and self._attempt.kind == "clock":
            self._jump_ns = self._rng.choice(JUMPS_S) * 1_000_000_000
        super().step(do, *args)

    def prune(self, *args: Any) -> None:
        """Prune by the right time: what expires by a wrong one is not to be blamed on the store."""
        self._jump_ns = 0
        with lives.noting_errors(self.ack):
            workload._Life.prune(self, *args)

    def _noting(self, ack: Ack) -> Ack:
        def noting(event: Event) -> None:
            ack(event)
            self._events += 1
            if self._attempt and self._events == self._attempt.amount:
                self._begin(self._attempt)

        return noting

    def _begin(self, attempt: Try) -> None:
        path = self._place.root / attempt.target
        if attempt.kind == "read-only":
            remount(path, "abort")
        elif attempt.kind == "permission" and path.exists():
            self._mode = path.stat().st_mode & 0o777
            path.chmod(self._mode & (0o555 if attempt.amount % 2 else 0))


@contextmanager
def prepared(attempt: Try, where: Path, root: Path) -> Iterator[Callable[[], None]]:
    """Mount what a try needs; gives what makes the file system writable again, once nobody has it open."""
    if attempt.kind in ("space", "inodes"):
        limits = f"size={attempt.amount}k" if attempt.kind == "space" else f"size=64m,nr_inodes={attempt.amount}"
        disks._check(_libc.mount(b"tmpfs", bytes(where), b"tmpfs", 0, f"{limits},mode=700".encode()), where)
        again = partial(remount, where, ENOUGH)
    elif attempt.kind == "read-only":
        disks.copy_image(root / "ext4", root / "image")
        disk = disks.Disk(root / "image", "ext4")
        disk.mount(where)
        again = partial(mount_anew, disk, where)
    else:
        yield lambda: None
        return
    try:
        yield again
    finally:
        disks.unmount(where)
        if attempt.kind == "read-only":
            disk.close()


def mount_anew(disk: disks.Disk, where: Path) -> None:
    """Unmount a file system that has stopped writing, and mount it again."""
    disks.unmount(where)
    disk.mount(where)


def remount(where: Path, options: str) -> None:
    """Change the options of a mounted file system."""
    disks._check(_libc.mount(None, bytes(where), None, _REMOUNT, options.encode()), where)


def obey_modes() -> None:
    """Lay down root's right to read and write in spite of modes."""
    header, nothing = struct.pack("Ii", _CAPABILITIES_VERSION, 0), bytes(24)
    disks._check(_libc.capset(header, nothing), Path("capset"))


@contextmanager
def working_directory(chosen: Sequence[Kind]) -> Iterator[Path]:
    """Give a directory, where root may mount file systems that nobody else sees."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory(prefix="tracestore-full-") as home:
            yield Path(home)
        return
    with disks.workshop() as root:
        if "read-only" in chosen:
            disks.format_image(root / "ext4", "ext4")
        yield root
