"""The steps that durability rests on, by name, and what a campaign does to them.

Production code holds no hooks: a step is a function or a method that is called as an attribute of
its module or class, and is replaced there from outside. In a process of its own (a forked try) a
replacement stays; in a test it is undone at the end of the block::

    kill_at("rows committed", "before", nth=2)     # the process ends itself with kill -9 there
    with without("blob file sync"): ...            # a canary: the step does nothing, or lets everything by
    with pause_at("sweep deletes", pause): ...     # a forced interleaving: `pause()` runs there
"""

import importlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Step:
    """Where a step is: ``Class.method``, ``function``, or ``os.call`` for one system call of one module."""

    module: str
    attribute: str

    def owner(self) -> tuple[Any, str]:
        """Return the object that holds the attribute, and the attribute's name."""
        found: Any = importlib.import_module(self.module)
        *path, name = self.attribute.split(".")
        for part in path:
            found = getattr(found, part)
        return found, name


STEPS: dict[str, Step] = {
    "store file written": Step("tracestore.directory.durable", "write_file"),
    "store file sync": Step("tracestore.directory.durable", "sync_file"),
    "store directory sync": Step("tracestore.directory.durable", "sync_directory"),
    "store file published": Step("tracestore.directory.durable", "publish"),
    "blob store format written": Step("blobs.durable", "write_file"),
    "blob directory made": Step("blobs.durable", "make_directory"),
    "database made": Step("tracestore.database.connection", "Database.create"),
    "database published": Step("tracestore.database.connection", "publish"),
    "journal append": Step("tracestore.journal.disk", "write_all"),
    "journal append sync": Step("tracestore.journal.disk", "sync_written"),
    "journal read sync": Step("tracestore.journal.disk", "sync_read"),
    "segment directory sync": Step("tracestore.journal.disk", "sync_directory"),
    "segment made": Step("tracestore.journal.disk", "create_exclusive"),
    "rejected sync": Step("tracestore.journal.rejects", "RejectedLines.sync"),
    "rejected append": Step("tracestore.journal.rejects", "RejectedLines.append"),
    "blobs staged": Step("blobs.backends.batch", "write"),
    "blob written": Step("blobs.durable", "write_all"),
    "blob file sync": Step("blobs.durable", "sync_file"),
    "file system sync": Step("blobs.durable", "sync_filesystem"),
    "blob rename": Step("blobs.backends.batch", "_rename"),
    "blob directory sync": Step("blobs.durable", "sync_directory"),
    "blobs published": Step("blobs.backends.local", "LocalBackend.publish"),
    "rows committed": Step("tracestore.database.writer", "Writer.commit"),
    "rows expired": Step("tracestore.database.retention", "Retention.expire"),
    "bodies marked evicted": Step("tracestore.database.retention", "Retention.mark_evicted"),
    "bodies forgotten": Step("tracestore.database.retention", "Retention.forget_bodies"),
    "gone bodies forgotten": Step("tracestore.database.retention", "Retention.forget_gone_bodies"),
    "prune recorded": Step("tracestore.database.retention", "Retention.record_prune"),
    "sweep confirms": Step("blobs.sweep", "_confirmed"),
    "sweep deletes": Step("blobs.backends.local", "LocalBackend.delete"),
    "shard swept": Step("blobs.backends.tree", "delete_blobs"),
    "empty shard removed": Step("blobs.backends.tree", "remove_if_empty"),
    "leftovers cleared": Step("blobs.backends.local", "LocalBackend.clear_leftovers"),
    "pack frame written": Step("blobs.packs.writer", "PackWriter.copy"),
    "pack finished": Step("blobs.packs.writer", "PackWriter.finish"),
    "pack read back": Step("blobs.packs.writer", "PackWriter.read_back"),
    "packs required": Step("blobs.packs.directory", "require_packs"),
    "pack published": Step("blobs.packs.tier", "PackTier.publish"),
    "bodies given up": Step("blobs.packs.tier", "PackTier.give_up"),
    "dead noted": Step("blobs.packs.tier", "PackTier.save"),
    "pack removed": Step("blobs.packs.tier", "PackTier.remove"),
    "pack leftovers cleared": Step("blobs.packs.tier", "PackTier.clear_leftovers"),
    "pack rewritten": Step("blobs.packs.rewriting", "_rewrite"),
    "packs settled": Step("blobs.packs.rewriting", "settle"),
    "bodies erased": Step("blobs.packs.rewriting", "erase"),
    "bodies packed": Step("blobs.packs.packing", "Packing.run"),
    "copies proved": Step("blobs.packs.replaced", "_proved"),
    "replaced released": Step("blobs.store", "release"),
    "unpacked": Step("blobs.store", "unpack"),
    "checkpoint": Step("tracestore.database.connection", "Database.checkpoint"),
    "copy compacted": Step("tracestore.database.compaction", "_copy"),
    "database detached": Step("tracestore.database.connection", "Database._detach"),
    "database attached": Step("tracestore.database.connection", "Database._reattach"),
    "swap": Step("tracestore.database.connection", "Database.swap"),
    "journal noted": Step("tracestore.maintenance.recovery", "Recovery.note_journal"),
    "removal noted": Step("tracestore.maintenance.recovery", "note_removal"),
    "removals forgotten": Step("tracestore.maintenance.recovery", "forget_removals"),
    "snapshot file finished": Step("tracestore.maintenance.snapshot", "_finish"),
    "snapshot manifest written": Step("tracestore.maintenance.snapshot", "_write_manifest"),
    "snapshot taken": Step("tracestore.maintenance.snapshot", "take"),
    "old snapshots cleared": Step("tracestore.maintenance.snapshot", "_clear"),
    "segments removed": Step("tracestore.maintenance.recovery", "remove_segments"),
    "segment removed": Step("tracestore.journal.disk", "remove_finished"),
}
"""Every step of a cycle at which the process may die."""

REBUILD_STEPS: dict[str, Step] = {
    "rejected lines copied": Step("tracestore.maintenance.rebuild", "_copy_rejected"),
    "snapshot loaded": Step("tracestore.maintenance.rebuild", "load"),
    "ledger derived": Step("tracestore.maintenance.rebuild", "derive_ledger"),
    "removal repeated": Step("tracestore.maintenance.rebuild", "_Replay.remove"),
    "rebuilt database published": Step("tracestore.maintenance.rebuild", "publish"),
}
"""Steps that only a store whose database was lost comes to."""
BACKUP_STEPS: dict[str, Step] = {
    "backup sync": Step("tracestore.maintenance.backup", "sync_filesystem"),
}
OTHER_STEPS: dict[str, Step] = {
    "packed body read": Step("blobs.packs.tier", "PackTier.body"),
    "loose body read": Step("blobs.store", "read_body"),
    "body revived": Step("blobs.packs.tier", "PackTier.revive"),
    "dead body found": Step("blobs.packs.tier", "PackTier.find_dead"),
}
"""Steps of readers, and of a store that something was done to."""
ALL_STEPS = STEPS | REBUILD_STEPS | BACKUP_STEPS | OTHER_STEPS

LOCK = "the mutex of writer and sweeper"
MOVING = "the mutex of whoever moves bodies"
RECHECK = "the look before the deletion"
PROOFS: dict[str, Callable[..., Any]] = {
    "pack read back": lambda writer: writer.name,
    "packs required": lambda root_fd: None,
    "copies proved": lambda tier, seats: [digest for digest, _ in seats],
    "body revived": lambda tier, seat: None,
    "dead body found": lambda tier, digest: iter(()),
}
"""Steps that make sure of something before bodies are given up or files go; here they let everything by."""
SYNCS = (
    "blob file sync", "file system sync", "blob directory sync", "journal append sync", "journal read sync",
    "segment directory sync", "store file sync", "store directory sync", "backup sync",
)  # fmt: skip
"""Steps that make something durable and do nothing else. Written "step @ place" it is the step at one
place of the store, as `sync_places` names them: a shard and the directory above it are different promises."""
NOTES = ("journal noted", "removal noted")
"""Steps of `STEPS` that write down what a rebuild has to know, and do nothing else."""
_AT = " @ "


def kill_at(name: str, when: When = "before", nth: int = 1) -> None:
    """Let this process die by kill -9 before or after the nth time that it comes to a step."""
    left = nth

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            dies_here = left == 0
            result = original(*args, **kwargs)
            if dies_here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step

    _replace(ALL_STEPS[name], dying)


def count_steps(function: Callable[..., Any], *args: Any) -> dict[str, int]:
    """Call a function and return how often it came to each step; for a process of its own."""
    counts = dict.fromkeys(ALL_STEPS, 0)

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def step(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(*args, **kwargs)

        return step

    for name, place in ALL_STEPS.items():
        _replace(place, partial(counting, name))
    function(*args)
    return counts


def sync_places(function: Callable[..., Any], *args: Any) -> set[str]:
    """Call a function and return every sync it does as "step @ place"; for a process of its own."""
    met: set[str] = set()

    def noting(name: str, original: Callable[..., None]) -> Callable[..., None]:
        def sync(target: int | str | Path, *args: Any) -> None:
            met.add(f"{name}{_AT}{place_of(target)}")
            original(target, *args)

        return sync

    for name in SYNCS:
        _replace(ALL_STEPS[name], partial(noting, name))
    function(*args)
    return met


def place_of(target: int | str | Path) -> str:
    """Say where in a store an open file or a path is, the same for each of its kind: ``objects/*``."""
    path = Path(os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target)
    for directory in (path, *path.parents):
        if (directory / "lock").exists():
            place = re.sub(
                r"[0-9a-f]{16,}|(?<=objects/)[0-9a-f]{2}|[\w-]+(?=\.parquet)", "*", str(path.relative_to(directory))
            )
            return re.sub(r"\d[\dTZ-]{3,}", "N", place)
    if path.is_dir():
        return "above the store" if (path / "store").exists() else path.name
    return "a producer's journal" if path.suffix == ".ndjson" else f"{path.parent.name}/{path.name}"


def remove(name: str) -> None:
    """Take a safety step away for the rest of this process."""
    for place, make in _removal(name):
        _replace(place, make)


@contextmanager
def without(name: str) -> Iterator[None]:
    """Take a safety step away for the length of the block; stores must be opened inside it."""
    undo = [_replace(place, make) for place, make in _removal(name)]
    try:
        yield
    finally:
        for back in reversed(undo):
            back()


@contextmanager
def pause_at(name: str, pause: Callable[[], None], when: When = "before") -> Iterator[None]:
    """Run ``pause`` in the thread that comes to a step, each time, for the length of the block."""

    def pausing(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def step(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                pause()
            result = original(*args, **kwargs)
            if when == "after":
                pause()
            return result

        return step

    back = _replace(ALL_STEPS[name], pausing)
    try:
        yield
    finally:
        back()


class NoLock:
    """A lock that holds nobody off: what `BlobStore.lock` becomes when the mutex is taken away."""

    def acquire(self, timeout: float = -1) -> bool:
        return True

    def release(self) -> None:
        return None

    def __enter__(self) -> "NoLock":
        return self

    def __exit__(self, *about: object) -> None:
        return None


def _removal(name: str) -> Sequence[tuple[Step, Callable[[Any], Any]]]:
    """Return what to replace, and by what, so that a safety step is gone."""
    if name in (LOCK, MOVING):
        lock = "lock" if name == LOCK else "packing"
        return [(Step("blobs.store", "BlobStore._start"), partial(_starting_without, lock))]
    if name == RECHECK:
        return [(STEPS["sweep confirms"], _confirming_all)]
    step, _, place = name.partition(_AT)
    if step in NOTES:
        return [(STEPS[step], lambda original: lambda *args: None)]
    if step in PROOFS:
        return [(ALL_STEPS[step], lambda original: PROOFS[step])]
    if step not in SYNCS:
        known = (LOCK, MOVING, RECHECK, *SYNCS, *NOTES, *PROOFS)
        raise ValueError(f"wanted one of {', '.join(known)}; found {name!r}")
    return [(ALL_STEPS[step], partial(_not_syncing, place))]


def _not_syncing(place: str, original: Callable[..., None]) -> Callable[..., None]:
    def sync(target: int | str | Path, *args: Any) -> None:
        if place and place_of(target) != place:
            original(target, *args)

    return sync


def _starting_without(lock: str, start: Callable[..., None]) -> Callable[..., None]:
    def start_without(store: Any, *args: Any, **kwargs: Any) -> None:
        start(store, *args, **kwargs)
        setattr(store, lock, NoLock())

    return start_without


def _nothing_named(retention: Any, digests: Sequence[bytes], seq: int) -> set[bytes]:
    return set()


def _confirming_all(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the caller do its part for all that the plan had, as if nothing had been named since."""

    def confirmed(chunk: Sequence[Any], confirm: Callable[[Sequence[Any]], Any]) -> Sequence[Any]:
        from tracestore.database.retention import Retention

        named = Retention.named_since
        Retention.named_since = _nothing_named
        try:
            confirm(chunk)
        finally:
            Retention.named_since = named
        return chunk

    return confirmed


def _replace(place: Step, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Put another function in the place of a step; return what puts it back."""
    owner, name = place.owner()
    kept = vars(owner)[name]
    is_classmethod = isinstance(kept, classmethod)
    replacement = make(kept.__func__ if is_classmethod else kept)
    setattr(owner, name, classmethod(replacement) if is_classmethod else replacement)
    return lambda: setattr(owner, name, kept)
