"""Walks over the directory of a local store: listing, deleting, clearing, oddities.

Functions take open directories and let OSError through; `local` translates. Entries may come
and go during a walk: what has vanished since it was listed is passed over.
"""

import errno
import os
import stat as st
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from blobs import durable, layout
from blobs.backends.base import BlobStat, Deleted, Oddity
from blobs.digest import Digest

BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own block
NOT_A_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)  # what O_DIRECTORY and O_NOFOLLOW answer to a file and to a link


def stat_of(digest: Digest, found: os.stat_result) -> BlobStat | None:
    """Turn what lstat found into a BlobStat; None for anything but a regular file."""
    if not st.S_ISREG(found.st_mode):
        return None
    return BlobStat(digest, found.st_size, found.st_blocks * BLOCK_BYTES)


def list_blobs(objects_fd: int) -> Iterator[BlobStat]:
    """Yield every blob in ascending order, holding one shard in memory at a time."""
    for shard in sorted(_shards(objects_fd)):
        with suppress(FileNotFoundError):
            yield from _list_shard(objects_fd, shard)


def delete_blobs(objects_fd: int, shard: str, digests: Iterable[Digest]) -> Deleted:
    """Unlink blobs of one shard, and the shard when that empties it."""
    blobs = reclaimed = 0
    try:
        with _opened(shard, objects_fd) as shard_fd:
            for digest in digests:
                name = layout.blob_name(digest)
                try:
                    found = os.stat(name, dir_fd=shard_fd, follow_symlinks=False)
                    if not st.S_ISREG(found.st_mode):
                        continue
                    os.unlink(name, dir_fd=shard_fd)
                except FileNotFoundError:
                    continue
                blobs += 1
                reclaimed += found.st_blocks * BLOCK_BYTES
    except FileNotFoundError:
        return Deleted()
    if blobs:
        remove_if_empty(shard, objects_fd)
    return Deleted(blobs, reclaimed)


def remove_if_empty(name: str, parent_fd: int) -> None:
    """Remove a directory unless something is in it or it is gone."""
    try:
        os.rmdir(name, dir_fd=parent_fd)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def clear_stage(root_fd: int, living: Collection[str]) -> list[Deleted]:
    """Remove every batch in stage/ but the living ones."""
    try:
        with _opened(layout.STAGE, root_fd) as stage_fd:
            names = os.listdir(stage_fd)
    except FileNotFoundError:
        return []
    return [clear_batch(root_fd, name) for name in names if name not in living]


def clear_batch(root_fd: int, name: str) -> Deleted:
    """Remove one entry of stage/ with the files in it; a directory deeper down stays, with its parent."""
    blobs = reclaimed = 0
    with _opened(layout.STAGE, root_fd) as stage_fd:
        try:
            with _opened(name, stage_fd) as batch_fd:
                for entry in os.listdir(batch_fd):
                    gone = _unlink_counted(batch_fd, entry)
                    blobs += gone.blobs
                    reclaimed += gone.bytes_reclaimed
        except FileNotFoundError:
            return Deleted()
        except OSError as error:
            if error.errno not in NOT_A_DIRECTORY:
                raise
            return _unlink_counted(stage_fd, name)
        remove_if_empty(name, stage_fd)
    return Deleted(blobs, reclaimed)


def oddities(root_fd: int, objects_fd: int, living: Collection[str]) -> Iterator[Oddity]:
    """Yield what does not fit the drawing in `layout`; `living` names the batches being written."""
    for name in sorted(os.listdir(root_fd)):
        if name not in layout.KNOWN_NAMES:
            yield Oddity("stranger", name, "not part of a blob store")
            continue
        with suppress(FileNotFoundError):
            mode = os.stat(name, dir_fd=root_fd, follow_symlinks=False).st_mode
            if st.S_ISLNK(mode):
                yield Oddity("symlink", name, "symbolic links are not followed")
            elif st.S_ISDIR(mode) != (name in layout.DIRECTORIES):
                yield Oddity("stranger", name, "a file in place of a directory, or the other way round")
    yield from _odd_objects(objects_fd)
    yield from _leftovers(root_fd, living)


def _shards(objects_fd: int) -> list[str]:
    with os.scandir(objects_fd) as entries:
        return [e.name for e in entries if layout.is_shard_name(e.name) and e.is_dir(follow_symlinks=False)]


def _list_shard(objects_fd: int, shard: str) -> list[BlobStat]:
    blobs = []
    with _opened(shard, objects_fd) as shard_fd, os.scandir(shard_fd) as entries:
        for entry in entries:
            digest = layout.parse_blob_name(entry.name)
            if digest is None or not entry.name.startswith(shard):
                continue
            with suppress(FileNotFoundError):
                blob = stat_of(digest, entry.stat(follow_symlinks=False))
                if blob is not None:
                    blobs.append(blob)
    blobs.sort(key=lambda blob: blob.digest)
    return blobs


def _odd_objects(objects_fd: int) -> Iterator[Oddity]:
    with os.scandir(objects_fd) as entries:
        found = sorted((e.name, e.is_symlink(), e.is_dir(follow_symlinks=False)) for e in entries)
    for shard, is_symlink, is_directory in found:
        path = f"{layout.OBJECTS}/{shard}"
        if is_symlink:
            yield Oddity("symlink", path, "symbolic links are not followed")
        elif not (is_directory and layout.is_shard_name(shard)):
            yield Oddity("stranger", path, "not a directory of blobs")
        else:
            with suppress(FileNotFoundError):
                yield from _odd_in_shard(objects_fd, shard, path)


def _odd_in_shard(objects_fd: int, shard: str, path: str) -> list[Oddity]:
    found = []
    with _opened(shard, objects_fd) as shard_fd:
        for name in sorted(os.listdir(shard_fd)):
            with suppress(FileNotFoundError):
                mode = os.stat(name, dir_fd=shard_fd, follow_symlinks=False).st_mode
                oddity = _odd_file(shard, name, mode, f"{path}/{name}")
                if oddity is not None:
                    found.append(oddity)
    return found


def _odd_file(shard: str, name: str, mode: int, path: str) -> Oddity | None:
    digest = layout.parse_blob_name(name)
    if st.S_ISLNK(mode):
        return Oddity("symlink", path, "symbolic links are not followed", digest)
    if digest is None or not st.S_ISREG(mode):
        return Oddity("stranger", path, "not a blob", digest)
    if not name.startswith(shard):
        return Oddity("misplaced", path, f"belongs in {layout.blob_path(digest)}", digest)
    if st.S_IMODE(mode) != layout.FILE_MODE:
        return Oddity("mode", path, f"mode {st.S_IMODE(mode):04o}, wanted {layout.FILE_MODE:04o}", digest)
    return None


def _leftovers(root_fd: int, living: Collection[str]) -> Iterator[Oddity]:
    try:
        with _opened(layout.STAGE, root_fd) as stage_fd:
            names = sorted(set(os.listdir(stage_fd)) - set(living))
    except OSError as error:
        if error.errno in (errno.ENOENT, *NOT_A_DIRECTORY):
            return  # nothing staged yet, or a link that is reported as one
        raise
    for name in names:
        yield Oddity("leftover", f"{layout.STAGE}/{name}", "left by a crash; the next sweep removes it")


def _unlink_counted(parent_fd: int, name: str) -> Deleted:
    with suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if not st.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent_fd)
            return Deleted(1, found.st_blocks * BLOCK_BYTES)
    return Deleted()


@contextmanager
def _opened(name: str, parent_fd: int) -> Iterator[int]:
    fd = durable.open_directory(name, parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)
