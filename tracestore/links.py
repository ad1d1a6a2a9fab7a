"""No link in a store's directory is followed, and nothing odd stands where a file belongs.

A store that was copied, or unpacked from somebody's archive, may hold a symbolic link to a file of
its next owner, or a pipe that never answers. Every path that this package opens by name is looked at
once, when the store is opened; blobs and journal segments are looked at where they are opened.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tracestore.errors import StoreBroken
from tracestore.layout import StoreLayout

_REPAIRS = "repairs"


def refuse_links(layout: StoreLayout) -> None:
    """Raise StoreBroken for a link in the store's directory, or for what is no file or directory where one belongs.

    The directory itself may be a link: whoever named it knows where it leads.
    """
    directories = (layout.journal, layout.inserted, layout.blobs, layout.snapshots, layout.scratch)
    known = {*directories, layout.root / _REPAIRS}
    files = {layout.format, layout.lock, layout.database, layout.rejected}
    for path in (*_entries(layout.root), layout.rejected, layout.inserted):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(mode):
            raise _refused(path, "a file or directory of this store", "a symbolic link")
        if path in known and not stat.S_ISDIR(mode):
            raise _refused(path, "a directory", "something else")
        if (path in files or path.suffix == ".wal") and not stat.S_ISREG(mode):
            raise _refused(path, "a regular file", "something else")


def _entries(root: Path) -> Iterator[Path]:
    try:
        names = os.listdir(root)
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (root / name for name in sorted(names))


def _refused(path: Path, wanted: str, found: str) -> StoreBroken:
    return StoreBroken(f"{path}: wanted {wanted}, found {found}, which is not followed; move it away, then try again")
