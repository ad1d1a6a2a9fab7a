"""Restore: the files of a backup copied into a new directory.

Bodies first, then the rest, ``FORMAT`` last: until then it is no store, and another restore goes on
with it. Opening it afterwards makes its database, as a rebuild does.
"""

from pathlib import Path

from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import InputInvalid, StoreBroken, StoreNotFound
from tracestore.layout import DIRECTORY_MODE, StoreLayout, check_format
from tracestore.maintenance.backup import (
    BLOBS,
    BODIES,
    MANIFEST,
    Backup,
    check_apart,
    read_manifest,
    sync,
)
from tracestore.maintenance.rsync import Copied, Place, Progress, Rsync

_UNFINISHED = "FORMAT.restoring"


def restore(source: Place, layout: StoreLayout, *, on_progress: Progress | None = None) -> tuple[Backup, Copied]:
    """Copy a backup into a directory that is new or empty; opening it as a store then makes its database.

    Raises StoreNotFound where there is no complete backup, StoreUnavailable; it goes on when called again.
    """
    rsync = Rsync()
    content = rsync.read(source, MANIFEST) if MANIFEST in (rsync.names(source) or ()) else None
    if content is None:
        raise StoreNotFound(f"{source}: wanted a complete backup, found no {MANIFEST}; check the path")
    backup = read_manifest(content, source)
    check_apart(layout.root, source)
    _make_room(layout.root)
    here, rows = Place.local(layout.root), source / backup.name
    unfinished = layout.root / _UNFINISHED
    format_text = rsync.read(rows, layout.format.name)
    if format_text is None:
        raise StoreBroken(f"{rows}: wanted the files of a store, found no {layout.format.name}; use another backup")
    check_format(format_text, layout.format)
    with disk_errors_translated("restore there", layout.root):
        durable.write_file(unfinished, format_text)
    copied = rsync.copy(source / BLOBS, here / BLOBS, *BODIES, on_progress=on_progress)
    # Of a restore that was cut short there may be other rows: nothing of them must stay.
    copied += rsync.copy(rows, here, "--ignore-times", "--delete", f"--exclude=/{BLOBS}/", "--exclude=/FORMAT*")
    sync(here)
    with disk_errors_translated("restore there", layout.root):
        durable.publish(unfinished, layout.format)
    return backup, copied


def _make_room(root: Path) -> None:
    """Refuse to restore over anything but an empty directory, or a restore that was cut short."""
    with disk_errors_translated("restore there", root):
        root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        names = [entry.name for entry in root.iterdir()]
    if names and _UNFINISHED not in names:
        raise InputInvalid(f"{root}: wanted a new or empty directory, found {names[0]!r} in it; give another path")
