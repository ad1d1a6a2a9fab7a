"""Finding, making and locking the directory of a store.

A store is made only where nothing is: a mistyped path is an error, never a new empty store. The
order of creation leaves a directory that the next opening finishes: lock, ``FORMAT``, the rest.
"""

from collections.abc import Callable
from pathlib import Path

from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.directory.lock import StoreLock
from tracestore.errors import StoreBroken, StoreNotFound
from tracestore.layout import DIRECTORY_MODE, FILE_MODE, StoreLayout, check_format, format_text, refuse_links


def lock_store(
    path: Path, *, create: bool, read_only: bool, is_answered: Callable[[Path], bool] = lambda socket: False
) -> tuple[StoreLayout, StoreLock]:
    """Lock the store at ``path``, making its directory first where that is allowed and nothing is there.

    ``is_answered`` tells whether the store's holder answers at its socket: then nobody waits for it to end.
    Raises StoreNotFound, StoreBroken or StoreLocked; creates nothing then.
    """
    layout = StoreLayout(path)
    with disk_errors_translated("open the store", path):
        refuse_links(layout)
        is_new = not layout.is_store()
        if is_new:
            _check_may_create(layout, create and not read_only)
            path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            path.chmod(DIRECTORY_MODE)  # it may have been there, open to others
        else:
            check_format(layout.format.read_bytes(), layout.format)  # before anything is made there
            if read_only and not layout.lock.exists():
                layout.lock.touch(mode=FILE_MODE)
        lock = StoreLock(layout.lock, shared=read_only, is_pointless=lambda: is_answered(layout.socket))
        try:
            if is_new:
                durable.write_file(layout.format, format_text())
                durable.sync_directory(layout.root.parent)
            if not read_only:
                for directory in (layout.journal, layout.inserted):
                    directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
                _clear_leftovers(layout)
        except BaseException:
            lock.release()
            raise
    return layout, lock


def may_pack(layout: StoreLayout) -> bool:
    """Tell whether bodies may go into packs; StoreUnavailable where the disk does not say."""
    with disk_errors_translated("look for a mark", layout.no_pack):
        return not layout.no_pack.exists()


def mark_no_pack(layout: StoreLayout) -> None:
    """Keep the bodies of a store in files of their own, for good."""
    with disk_errors_translated("mark the store", layout.no_pack):
        if not layout.no_pack.exists():
            durable.write_file(layout.no_pack, b"bodies stay in files of their own while this file is here\n")


def needs_database(layout: StoreLayout, *, create: bool) -> bool:
    """Tell whether the database has to be made; StoreBroken where it is missing and may not be."""
    with disk_errors_translated("open the store", layout.root):
        if layout.database.exists():
            return False
    if not create:
        raise StoreBroken(
            f"{layout.database}: wanted a database, found none; run tracestore rebuild"
        )
    return True


def _check_may_create(layout: StoreLayout, may_create: bool) -> None:
    root = layout.root
    if not layout.is_unused():
        what = "a directory of something else" if root.is_dir() else "a file"
        raise StoreNotFound(f"{root}: wanted a store, found {what}; give the path of a store, or of an empty directory")
    if not may_create:
        raise StoreNotFound(
            f"{root}: wanted a store, found nothing; check the path,"
            " or make a store with tracestore collect or TraceStore(path)"
        )


def _clear_leftovers(layout: StoreLayout) -> None:
    """Remove what a crash may have left of a sort that spilled or of a compaction; nothing refers to it."""
    if layout.scratch.is_symlink():
        raise StoreBroken(f"{layout.scratch}: wanted a directory of this store, found a link; remove it")
    for leftover in (*layout.scratch.glob("*"), *layout.root.glob(layout.database.name + ".new*")):
        leftover.unlink(missing_ok=True)
