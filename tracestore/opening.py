"""Finding, making and locking the directory of a store.

A store is made only where nothing is: a mistyped path is an error, never a new empty store. The
order of creation leaves a directory that the next opening finishes: lock, ``FORMAT``, the rest.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracestore.errors import StoreBroken, StoreNotFound, StoreUnavailable
from tracestore.layout import DIRECTORY_MODE, FILE_MODE, StoreLayout, check_format, format_text
from tracestore.lock import StoreLock


def lock_store(path: Path, *, create: bool, read_only: bool) -> tuple[StoreLayout, StoreLock]:
    """Lock the store at ``path``, making its directory first where that is allowed and nothing is there.

    Raises StoreNotFound, StoreBroken or StoreLocked; creates nothing then.
    """
    layout = StoreLayout(path)
    with _translated(path):
        is_new = not layout.is_store()
        if is_new:
            _check_may_create(layout, create and not read_only)
            path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        else:
            check_format(layout.format.read_bytes(), layout.format)  # before anything is made there
            if read_only and not layout.lock.exists():
                layout.lock.touch(mode=FILE_MODE)
        lock = StoreLock(layout.lock, shared=read_only)
        try:
            if is_new:
                _write_durably(layout.format, format_text())
            if not read_only:
                layout.journal.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
                _clear_leftovers(layout)
        except BaseException:
            lock.release()
            raise
    return layout, lock


def needs_database(layout: StoreLayout, *, create: bool) -> bool:
    """Tell whether the database has to be made; StoreBroken where it is missing and may not be."""
    if layout.database.exists():
        return False
    if not create:
        raise StoreBroken(
            f"{layout.database}: wanted a database, found none; tracestore collect makes a new one"
            " and reads the journal from its start"
        )
    return True


def set_rejected_aside(layout: StoreLayout) -> Path | None:
    """Keep the rejected lines of a database that is gone: a new one starts a file of its own."""
    if not layout.rejected.exists():
        return None
    aside = layout.rejected.with_name(f"rejected-before-{time.time_ns() // 1_000_000}.txt")
    with _translated(layout.rejected):
        layout.rejected.rename(aside)
    return aside


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


def _write_durably(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".new")
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    unfinished.replace(path)
    for directory in (path.parent, path.parent.parent):
        fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (StoreNotFound, StoreUnavailable):  # ours, though they are OSErrors too
        raise
    except OSError as error:
        raise StoreUnavailable(error.errno, f"cannot open the store: {error.strerror}", str(path)) from error
