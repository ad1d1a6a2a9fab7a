"""Short lives in which exactly one proof stands between a fault and the loss of bodies.

What is looked at before bodies are given up or files go: each life here meets the fault that such a look is
for, and returns what was lost. Whole, none of them loses anything; `canaries` plays each without its step.

Not among them: a pack is published before its bodies are given up elsewhere. The other order would lose nothing
either, for what was given up is still read where no other copy is, and brought back to life by a sweep: those
two are.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from blobs import durable
from tests.faults import oracle, steps, workload
from tracestore import TraceStore, TraceStoreError

BODIES = 24
TEXTS = [f"{n} {random.Random(n).randbytes(300).hex()}" for n in range(BODIES)]
LONG_BYTES = 500


def lying_disk(home: Path) -> Iterator[str]:
    """A disk keeps other bytes than were written, while packs are merged and the old ones go."""
    with opened(home) as store:
        fill(store)
        with lying():
            pack(store)
    yield from lost(home)


def damaged_copy(home: Path) -> Iterator[str]:
    """A pack is damaged while the files that it replaces wait."""
    with workload.scaled_down(packed_from=BODIES), opened(home) as store:
        fill(store)
        store.pack()
        (damaged,) = packs(home)
        damaged.chmod(0o600)
        with damaged.open("r+b") as file:
            file.seek(200)
            file.write(bytes(200))
        pack(store)
    yield from lost(home)


def torn_copy(home: Path) -> Iterator[str]:
    """A copy of the directory was taken while packs were merged: it has the notes, and not the new pack."""
    with opened(home) as store:
        fill(store)
        before = set(packs(home))
        store.pack()
    for new in set(packs(home)) - before:
        new.unlink()
    yield from lost(home)
    with opened(home) as store:
        store.prune(oracle.KEEP_ALL, force=True)
        pack(store)
    yield from lost(home)


def older_release(home: Path) -> Iterator[str]:
    """A release that knows nothing of packs meets the store."""
    with opened(home) as store:
        fill(store)
    yield from oracle.format_broken(home / "store" / "blobs")


LIVES: dict[str, Callable[[Path], Iterator[str]]] = {
    "pack read back": lying_disk,
    "copies proved": damaged_copy,
    "body revived": torn_copy,
    "dead body found": torn_copy,
    "packs required": older_release,
}
"""Each step of `steps.PROOFS`, and the life that needs it."""


def live(home: str, name: str, *, is_whole: bool) -> list[str]:
    """Return what a life loses, whole or without its step. For a process of its own."""
    if not is_whole:
        steps.remove(name)
    Path(home).mkdir()
    with workload.scaled_down(packed_from=BODIES // 2):
        return list(LIVES[name](Path(home)))


def opened(home: Path) -> TraceStore:
    """Open the store of a life; its clock is that of the disk."""
    return TraceStore(home / "store")


def fill(store: TraceStore) -> None:
    """Insert bodies in two batches, each large enough to become a pack."""
    for first in (0, BODIES // 2):
        store.insert_records(
            {"kind": "log", "timestamp": 1, "extensionId": "app", "level": "info", "msg": "", "body": text}
            for text in TEXTS[first : first + BODIES // 2]
        )
        store.stats()


def pack(store: TraceStore) -> None:
    """Pack and let everything go that was replaced; it may refuse."""
    with suppress(TraceStoreError):
        store.pack(grace_ms=0)


def packs(home: Path) -> list[Path]:
    """Return the packs of a life."""
    return list((home / "store" / "blobs" / "packs").glob("*.pack"))


def lost(home: Path) -> Iterator[str]:
    """Yield each body that is not to be had any more."""
    with opened(home) as store:
        for text in TEXTS:
            try:
                found = store.get_body(blake3(text.encode()).hexdigest())
            except TraceStoreError:
                found = None
            if found != text.encode():
                yield f"lost: {text[:20]!r}"


@contextmanager
def lying() -> Iterator[None]:
    """Let the disk keep another byte than was written, in every long write."""
    write = durable.write_all

    def write_otherwise(fd: int, content: bytes) -> None:
        if len(content) > LONG_BYTES:
            content = content[:LONG_BYTES] + bytes([content[LONG_BYTES] ^ 1]) + content[LONG_BYTES + 1 :]
        write(fd, content)

    durable.write_all = write_otherwise
    try:
        yield
    finally:
        durable.write_all = write
