"""Stores small enough to be packed in a moment: their clock is that of the disk, their packs and frames are tiny."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import blobs.store
from blobs import durable
from blobs.packs import frame, packing
from tests.conftest import Clock
from tracestore import TraceStore

HOUR_MS = 3_600_000
SMALLER = (
    (blobs.store, "PACKED_FROM_BODIES", 30),
    (packing, "SMALL_RAW_BYTES", 60_000),
    (packing, "PACK_RAW_BYTES", 300_000),
    (frame, "RAW_BYTES", 20_000),
    (frame, "FEWEST_BODIES", 4),
    (frame, "MOST_RAW_BYTES", 80_000),
)


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in SMALLER:
        monkeypatch.setattr(module, name, value)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """That syncs come where they must is tested by the order of steps and in the campaign of faults."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(durable, "sync_filesystem", lambda fd: None)


@pytest.fixture
def clock() -> Clock:
    """A moment after every file that a test makes, until it is put forward."""
    return Clock(int(time.time() * 1000) + 60_000)


def words(seed: object, count: int = 10) -> str:
    """Text that is the same for the same seed and does not compress by itself."""
    return " ".join(hashlib.sha256(f"{seed} {n}".encode()).hexdigest() for n in range(count))


class Disk:
    """What lies in the directory of bodies of a store."""

    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"

    def files(self, *places: str) -> list[Path]:
        return sorted(path for place in places for path in (self.blobs / place).rglob("*") if path.is_file())

    @property
    def loose(self) -> list[Path]:
        return self.files("objects")

    @property
    def packs(self) -> list[Path]:
        return [path for path in self.files("packs") if path.suffix == ".pack"]

    @property
    def used_bytes(self) -> int:
        """As `du` counts the files of bodies."""
        return sum(path.stat().st_blocks * 512 for path in self.files("objects", "packs"))

    def change(self, path: Path, content: bytes) -> None:
        """Another hand writes over a file that is never changed."""
        found = path.stat()
        path.chmod(0o600)
        path.write_bytes(content)
        path.chmod(0o400)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    def flip(self, path: Path, at: int) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        self.change(path, bytes(content))

    def listing(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(self.blobs)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in self.files("objects", "packs", "quarantine")
        }


class Talk:
    """Conversations as agents have them: each request holds what was said before."""

    def __init__(self, first_ms: int) -> None:
        self.first_ms = first_ms
        self.bodies: dict[str, str] = {}
        """What was said, by message."""

    def records(self, conversation: str, turns: int, at_ms: int | None = None, size: int = 10) -> list[dict]:
        """A record with a body for each turn, a second apart; `msg` names it."""
        said: list[str] = []
        found = []
        for turn in range(turns):
            said.append(words(f"{conversation} {turn}", size))
            name, body = f"{conversation}-{turn}", json.dumps(said)
            self.bodies[name] = body
            found.append(
                {
                    "kind": "log", "timestamp": (self.first_ms if at_ms is None else at_ms) + turn * 1000,
                    "extensionId": "app", "level": "info", "msg": name, "body": body,
                    "turnId": f"t-{conversation}-{turn}", "conversationId": conversation,
                }
            )  # fmt: skip
        return found

    def held(self, store: TraceStore) -> dict[str, str]:
        """Every body that a store gives back, by message."""
        turns = [turn for (turn,) in store.sql("SELECT DISTINCT turn_id FROM records").rows]
        return {one.msg: one.body for turn in turns for one in store.get_turn(turn) if one.body is not None}


@pytest.fixture
def talk(clock: Clock) -> Talk:
    return Talk(clock.now_ms - 600_000)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """The disk of the store `store`."""
    return Disk(tmp_path / "store")


@pytest.fixture
def disk_of() -> Callable[[Path], Disk]:
    return Disk


@pytest.fixture
def packed(store: TraceStore, talk: Talk) -> TraceStore:
    """A store of three conversations in packs, and nothing beside them."""
    for name in ("a", "b", "c"):
        store.insert_records(talk.records(name, 12))
    assert store.pack(grace_ms=0).files_pending == 0
    return store


@pytest.fixture
def reopen(open_store: Callable[..., TraceStore]) -> Callable[..., TraceStore]:
    """`reopen(store)` closes a store and opens it again."""

    def run(store: TraceStore, **options: object) -> TraceStore:
        store.close()
        return open_store(store.path.name, **options)

    return run
