"""Backup: a store's files copied to another place while the store is in use.

The database is not copied, for its owner has it open: `restore` makes it again, as a rebuild does,
from a snapshot, the journal since then and the removals since then. Layout of a backup::

    DEST/
      BACKUP.json                     what is complete; written last, by one rename
      rows-20261123T070502.123456Z/   a store without database and bodies: FORMAT, snapshot, removals, journal
      blobs/                          bodies, of all backups ever made here

Back up. A fresh snapshot is taken, or asked for, first. Then, under the pin, so that nothing goes
which these files name:

    1 blobs       new ones only; one of another size takes the place of an earlier one, which goes to
                    quarantine/ there: either of them may be the damaged one
    2 removals    before the journal: what they say of it has to be in it. What is noted later is not
                    in this backup, and what it names is not gone, for no body goes while pinned
    3 snapshot    unchanged files are links to those of the backup before
    4 journal     a segment that grows is copied as far as it went; a torn last line is no line
    5 manifest    now this one is the backup; until then the one before was, untouched
    6 clear       the one before goes; bodies that are gone here only where that is asked for
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blobs.durable import can_sync_filesystem, sync_filesystem
from blobs.layout import PACKS
from blobs.layout import UNFINISHED as UNFINISHED_PACK
from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.directory.durable import UNFINISHED
from tracestore.errors import InputInvalid, StoreBroken, StoreLocked, StoreNotFound, StoreUnavailable
from tracestore.layout import DIRECTORY_MODE, StoreLayout, check_format
from tracestore.maintenance import snapshot
from tracestore.maintenance.pin import SnapshotRequest, pinned
from tracestore.maintenance.rsync import Copied, Place, Progress, Rsync

FORMAT_VERSION = 1
MANIFEST = "BACKUP.json"
WAIT_S = 30.0
"""How long to wait for a snapshot of whoever holds the store: a collector answers at once, or after its prune."""
BLOBS = "blobs"
_OTHERS = frozenset({BLOBS, MANIFEST + UNFINISHED, "lost+found"})
_NAME = re.compile(r"rows-\d{8}T\d{6}\.\d{6}Z", re.ASCII)
"""Directories of a backup; the one that is complete is named in its manifest."""
BODIES = ("--size-only", "--exclude=/stage/", "--exclude=/quarantine/", f"--exclude=/{PACKS}/*{UNFINISHED_PACK}")
"""How bodies are copied: one of the same name and size is the same."""
_NANOSECONDS = "--modify-window=-1"
"""Of a file of the same size rsync compares whole seconds, and two snapshots may be of one."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete backup, as its manifest says."""

    name: str
    """The directory of what is no body, below the backup's."""
    made_at_ns: int
    store: str
    """Path of the store that was backed up."""
    snapshot: str | None
    """Name of the snapshot in it; None where there is only the journal."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup did."""

    backup: Backup
    is_fresh: bool
    """Whether its snapshot was taken for it. Else what was read from journals elsewhere since then is not in it."""
    copied: Copied


def back_up(
    layout: StoreLayout,
    target: Place,
    take_snapshot: Callable[[], object],
    *,
    tell: Tell,
    delete: bool = False,
    wait_s: float = WAIT_S,
    on_progress: Progress | None = None,
) -> BackedUp:
    """Copy a store; whoever holds it may go on with everything.

    ``take_snapshot`` takes one, or raises StoreLocked where another process has to. ``delete`` removes
    from the target the bodies that the store no longer has. ``on_progress`` gets bodies looked at and
    bodies there are. Raises StoreUnavailable; then the backup before is as it was.
    """
    check_format(_format_of(layout), layout.format)
    check_apart(layout.root, target)
    names = Rsync().names(target)
    before = _earlier(target, names or [], layout)
    known = snapshot.latest(layout.snapshots)
    was_tried = _freshen(layout, take_snapshot, tell, wait_s)
    with pinned(layout, tell) as pin:
        found = snapshot.latest(layout.snapshots)
        is_fresh = was_tried and found is not None and (known is None or found.path.name != known.path.name)
        if not is_fresh:
            tell(_staleness(found))
        made_at_ns = max(time.time_ns(), before.made_at_ns + 1000 if before else 0)
        backup = Backup(
            _name(made_at_ns), made_at_ns, os.path.realpath(layout.root), found.path.name if found else None
        )
        rsync = Rsync([pin])
        if names is None:
            _make(rsync, layout, target)
        copied = _copy(rsync, layout, target, backup, before, on_progress)
        sync(target)
        _complete(rsync, target, json.dumps({"format": FORMAT_VERSION} | asdict(backup), indent=1).encode())
        over = [name for name in names or () if _NAME.fullmatch(name) and name != backup.name]
        if over:
            rsync.remove(target, *(f"--include=/{name}/***" for name in over))
        if delete:
            rsync.copy(Place.local(layout.blobs), target / BLOBS, *BODIES, "--delete")
    return BackedUp(backup, is_fresh, copied)


def read_manifest(content: bytes, place: Place) -> Backup:
    """Return what a backup's manifest says; StoreBroken when it is none of ours."""
    wanted = f"the manifest of a backup of format {FORMAT_VERSION}"
    try:
        found: Mapping[str, Any] = json.loads(content)
        if found["format"] != FORMAT_VERSION:
            raise StoreBroken(f"{place}: wanted {wanted}, found format {found['format']}; use a newer tracestore")
        name, taken = str(found["name"]), found["snapshot"]
        if not _NAME.fullmatch(name):
            raise ValueError(name)
        return Backup(name, int(found["made_at_ns"]), str(found["store"]), None if taken is None else str(taken))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreBroken(f"{place}: wanted {wanted}, found {content[:60]!r}; use another backup") from error


def _copy(
    rsync: Rsync,
    layout: StoreLayout,
    target: Place,
    backup: Backup,
    before: Backup | None,
    on_progress: Progress | None,
) -> Copied:
    """Do steps 1 to 4."""
    here, there = Place.local(layout.root), target / backup.name
    copied = rsync.copy(
        here / BLOBS, target / BLOBS, *BODIES, "--backup", "--backup-dir=quarantine", on_progress=on_progress
    )
    names = [layout.format.name, layout.removals.name, layout.journals.name, f"{layout.snapshots.name}/"]
    copied += rsync.copy(here, there, *(f"--include=/{name}" for name in names), "--exclude=*")
    if backup.snapshot:
        path = f"{layout.snapshots.name}/{backup.snapshot}"
        like = f"{before.name}/{layout.snapshots.name}/{before.snapshot}" if before and before.snapshot else None
        copied += rsync.copy(here / path, there / path, *_linked(target, f"{backup.name}/{path}", like), "--checksum")
    path = layout.journal.name
    like = f"{before.name}/{path}" if before else None
    return copied + rsync.copy(here / path, there / path, *_linked(target, f"{backup.name}/{path}", like), _NANOSECONDS)


def _complete(rsync: Rsync, target: Place, manifest: bytes) -> None:
    """Say that a backup is whole: its manifest takes the place of the one before, and is durable before it does."""
    if target.is_local:  # rsync renames first
        with disk_errors_translated("write a backup's manifest", target.path):
            durable.write_file(target.path / MANIFEST, manifest)
    else:
        rsync.write(target, MANIFEST, manifest)


def _make(rsync: Rsync, layout: StoreLayout, target: Place) -> None:
    """Make the directory of backups, as private as the store: a run of rsync makes no more than one."""
    if target.is_local:
        with disk_errors_translated("make a directory for backups", target.path):
            target.path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    else:
        rsync.copy(Place.local(layout.root), target, "--exclude=*")


def _linked(target: Place, path: str, like: str | None) -> Sequence[str]:
    """Let files that are as in another directory of the target be links to those; both are paths in it.

    Of a changed file the difference is sent, but not where only a path with ``..`` leads there: rsync
    since 2025 refuses to read by one, and the copy fails.
    """
    if like is None:
        return ()
    if target.absolute is not None:
        return (f"--link-dest={target.absolute}/{like}",)
    return (f"--link-dest={'../' * (path.count('/') + 1)}{like}", "--whole-file")


def _freshen(layout: StoreLayout, take_snapshot: Callable[[], object], tell: Tell, wait_s: float) -> bool:
    """Get a new snapshot, where that can be; a backup without one is still a backup. False when nobody tried."""
    try:
        take_snapshot()
        return True
    except StoreLocked as held:
        tell(f"asking {held.holder or 'its holder'} for a snapshot")
        try:
            return SnapshotRequest(layout).ask(wait_s)
        except StoreUnavailable as error:
            tell(str(error))
    except StoreUnavailable as error:
        tell(f"no new snapshot: {error}")
    return False


def _staleness(found: snapshot.Snapshot | None) -> str:
    without = "what was read since then from journals outside the store is not in this backup"
    if found is None:
        return f"there is no snapshot yet, the rows come from the store's own journal alone; {without}"
    minutes = max(0, time.time_ns() - found.taken_at_ns) // (60 * 10**9)
    instead = f"one of {minutes:,} minutes ago and the store's own journal have to do"
    return f"nobody took a new snapshot: {instead}; {without}"


def _earlier(target: Place, names: list[str], layout: StoreLayout) -> Backup | None:
    """Return the backup that the target holds; refuse a directory of something else or of another store."""
    if MANIFEST not in names:
        strange = [name for name in names if name not in _OTHERS and not _NAME.fullmatch(name)]
        if strange:
            wanted = "a new or empty directory, or one of earlier backups"
            raise InputInvalid(f"{target}: wanted {wanted}, found {strange[0]!r} in it; give another path")
        return None
    content = Rsync().read(target, MANIFEST)
    before = read_manifest(content or b"", target)
    if before.store != os.path.realpath(layout.root):
        wanted = f"the backups of {os.path.realpath(layout.root)}"
        advice = f"give another path, or remove its {MANIFEST} if it is the same store"
        raise InputInvalid(f"{target}: wanted {wanted}, found those of {before.store}; {advice}")
    return before


def check_apart(root: Path, other: Place) -> None:
    """Refuse a place that is in the store, or that the store is in."""
    if not other.is_local:
        return
    store, place = Path(os.path.realpath(root)), other.path
    if store == place or store in place.parents or place in store.parents:
        raise InputInvalid(f"{place}: wanted a directory apart from the store, found one that holds or is in {store}")


def _name(made_at_ns: int) -> str:
    return datetime.fromtimestamp(made_at_ns / 1e9, UTC).strftime("rows-%Y%m%dT%H%M%S.%fZ")


def _format_of(layout: StoreLayout) -> bytes:
    try:
        return layout.format.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFound(f"{layout.root}: wanted a store, found none; check the path") from error


def sync(place: Place) -> None:
    """Make what was copied durable; of another machine that is that machine's business."""
    if not place.is_local:
        return
    with disk_errors_translated("make a copy durable", place.path):
        fd = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if can_sync_filesystem():
                sync_filesystem(fd)
            else:
                os.sync()
        finally:
            os.close(fd)
