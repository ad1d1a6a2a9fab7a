"""A directory of files: the backend for everyday use.

Reading, looking, listing and deleting go by open directories and names relative to them, so that
symbolic links inside the store are never followed. `batch` is the write protocol, `tree` the
walks; this module owns the open directories, the locking and the translation of OSError.
"""

import errno
import os
import secrets
import stat as st
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from blobs import durable, layout
from blobs.backends import aside, batch, tree
from blobs.backends.base import BlobStat, Deleted, Oddity, Staged, Usage
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobError, BlobNotFound, BlobsUnavailable, FormatUnknown
from blobs.slices import CORES, SLICE_ITEMS, in_slices


class LocalBackend:
    """Blobs in a directory of the local file system; one backend at a time may write there."""

    def __init__(self, path: Path, create: bool = True) -> None:
        self._path = path
        self._mutex = threading.RLock()  # a shard must not be removed between its making and a rename into it
        self._shards: set[str] = set()  # directories seen to be real, so that reading follows no link
        self._doubtful: set[Digest] = set()
        self._living: set[str] = set()
        self._root = self._objects = -1
        with self._translated("opening the blob store"):
            self._root = _open_root(path, create)
            try:
                durable.make_directory(self._root, layout.OBJECTS)
                self._objects = durable.open_directory(layout.OBJECTS, self._root)
            except OSError as error:
                self.close()
                if error.errno in tree.NOT_A_DIRECTORY:
                    wanted = "wanted a directory, found a link or a file, which is not followed"
                    raise FormatUnknown(f"{path}/{layout.OBJECTS}: {wanted}; put the directory itself there") from error
                raise

    def __repr__(self) -> str:
        return f"LocalBackend({str(self._path)!r})"

    def where(self, digest: Digest | None = None) -> str:
        """Name the directory, or the file of one blob."""
        return str(self._path if digest is None else self._path / layout.blob_path(digest))

    def stage(self, items: Iterable[tuple[Digest, bytes]]) -> Staged:
        """Do steps 1 and 2."""
        token = secrets.token_hex(8)
        self._living.add(token)
        with self._translated("staging blobs"):
            try:
                batch_fd = self._open_batch(token)
                try:
                    return Staged(token, batch.write(batch_fd, items))
                finally:
                    os.close(batch_fd)
            except BaseException:
                self._abandon(token)
                raise

    def publish(self, staged: Staged, known: Collection[Digest] = ()) -> None:
        """Do steps 3 and 4."""
        with self._mutex, self._translated("publishing blobs"):
            missing = next((digest for digest in known if self.stat(digest) is None), None)
            if missing is not None:
                raise BlobNotFound(missing, self.where())
            batch_fd = durable.open_directory(f"{layout.STAGE}/{staged.token}", self._root)
            try:
                batch.publish(self._objects, batch_fd, staged.stored_bytes.keys(), known)
            except BaseException:
                # A sync may have failed behind a rename; syncing once more would claim a success it does not
                # have. Until these blobs are written anew they count as absent, so that nobody relies on them.
                self._doubtful.update(staged.stored_bytes)
                raise
            finally:
                os.close(batch_fd)
            self._doubtful.difference_update(staged.stored_bytes)
        self.discard(staged)

    def discard(self, staged: Staged) -> None:
        """Remove the batch's directory and what is left in it."""
        self._abandon(staged.token)

    def read(self, digest: Digest, limit_bytes: int, fresh: bool = False) -> bytes:
        """Return the content of the blob's file; `fresh` drops the kernel's cached pages of it first."""
        try:
            fd = self._open_blob(digest)
            try:
                found = os.fstat(fd)
                if not st.S_ISREG(found.st_mode):
                    raise BlobNotFound(digest, self.where())
                if found.st_size > limit_bytes:
                    raise BlobCorrupt(
                        f"at most {limit_bytes} stored bytes", f"{found.st_size}", digest, self.where(digest)
                    )
                if fresh:
                    durable.drop_cache(fd)
                return _read_all(fd, found.st_size)
            finally:
                os.close(fd)
        except BlobError:
            raise
        except OSError as error:
            raise self._unavailable(f"reading blob {digest}", error) from error

    def stat(self, digest: Digest) -> BlobStat | None:
        """Return what one lstat finds."""
        if digest in self._doubtful:
            return None
        name = digest.hex()
        shard = name[:2]
        try:
            if shard not in self._shards and not self._is_shard(shard):
                return None
            found = os.stat(f"{shard}/{name}{layout.SUFFIX}", dir_fd=self._objects, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(f"looking for blob {digest}", error) from error
        return tree.stat_of(digest, found)

    def delete(self, digests: Sequence[Digest]) -> Deleted:
        """Unlink files; a thread for each core, 1.3 times as fast as one on two cores."""
        ordered = sorted(digests)
        with self._mutex, self._translated("deleting blobs"):
            share = max(SLICE_ITEMS, -(-len(ordered) // CORES))
            parts: tuple[Deleted, ...] = tuple(in_slices(self._delete, ordered, share))
        return sum(parts, Deleted())

    def list(self) -> Iterator[BlobStat]:
        """Yield every blob in ascending order, one directory at a time."""
        with self._translated("listing blobs"):
            yield from tree.list_blobs(self._objects)

    def usage(self) -> Usage:
        """Walk the directory as `du` does."""
        files = allocated_bytes = 0
        with self._translated("measuring the blob store"):
            for _, _, names, directory_fd in os.fwalk(".", dir_fd=self._root):
                allocated_bytes += os.fstat(directory_fd).st_blocks * tree.BLOCK_BYTES
                for name in names:
                    with suppress(FileNotFoundError):  # swept while we walk
                        allocated_bytes += os.lstat(name, dir_fd=directory_fd).st_blocks * tree.BLOCK_BYTES
                        files += 1
        return Usage(files, allocated_bytes)

    def protect(self, path: str) -> None:
        """Take every right but the owner's to read from a file."""
        with self._translated(f"protecting {path}"), suppress(FileNotFoundError):
            aside.protect(self._root, path)

    def files(self, path: str) -> Iterator[str]:
        """Walk below a path; what has vanished, or was never there, yields nothing."""
        with self._translated(f"looking through {path}"), suppress(FileNotFoundError):
            yield from aside.files(self._root, path)

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """Return the content of the file at a path."""
        with self._translated(f"reading {path}", passing=(FileNotFoundError,)):
            return aside.read_file(self._root, path, limit_bytes)

    def name_aside(self, path: str) -> str:
        """Look for a name that is free in quarantine/."""
        with self._translated("looking into quarantine/"):
            return layout.free_name(path, lambda name: aside.is_taken(self._root, name))

    def set_aside(self, path: str, name: str) -> str:
        """Rename into quarantine/."""
        with self._mutex, self._translated(f"setting {path} aside", passing=(FileNotFoundError, FileExistsError)):
            place = aside.set_aside(self._root, path, name)
            self._shards.discard(path.removeprefix(f"{layout.OBJECTS}/"))
        return place

    def erase(self, path: str) -> None:
        """Unlink a file that was set aside."""
        with self._mutex, self._translated(f"erasing {path}"), suppress(FileNotFoundError):
            aside.erase(self._root, path)

    def clear_leftovers(self) -> Deleted:
        """Remove every batch in stage/ that this backend is not writing."""
        with self._translated("clearing stage/"):
            gone = tree.clear_stage(self._root, frozenset(self._living))
        return sum(gone, Deleted())

    def oddities(self) -> Iterator[Oddity]:
        """Yield what does not fit the drawing in `layout`."""
        with self._translated("looking for oddities"):
            yield from tree.oddities(self._root, self._objects, frozenset(self._living))

    def close(self) -> None:
        """Close the directories; staged batches stay behind as leftovers."""
        descriptors, self._root, self._objects = (self._root, self._objects), -1, -1
        for fd in descriptors:
            if fd >= 0:
                with suppress(OSError):  # nothing was written through it, and it is gone whatever close says
                    os.close(fd)

    def _open_stage(self) -> int:
        try:
            return durable.open_directory(layout.STAGE, self._root)
        except FileNotFoundError:
            durable.make_directory(self._root, layout.STAGE)
        stage_fd = durable.open_directory(layout.STAGE, self._root)
        durable.spread_subdirectories(stage_fd)
        return stage_fd

    def _open_batch(self, token: str) -> int:
        stage_fd = self._open_stage()
        try:
            os.mkdir(token, 0o700, dir_fd=stage_fd)
            return durable.open_directory(token, stage_fd)
        finally:
            os.close(stage_fd)

    def _is_shard(self, shard: str) -> bool:
        try:
            found = os.stat(shard, dir_fd=self._objects, follow_symlinks=False)
        except FileNotFoundError:  # the rule where all is in packs
            return False
        if not st.S_ISDIR(found.st_mode):
            return False
        self._shards.add(shard)
        return True

    def _open_blob(self, digest: Digest) -> int:
        name = digest.hex()
        try:
            if name[:2] in self._shards or self._is_shard(name[:2]):
                return os.open(f"{name[:2]}/{name}{layout.SUFFIX}", batch.READ, dir_fd=self._objects)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.ELOOP:  # a symbolic link in place of a blob is not a blob
                raise
        raise BlobNotFound(digest, self.where())

    def _delete(self, digests: Sequence[Digest]) -> Sequence[Deleted]:
        return [
            tree.delete_blobs(self._objects, shard, group)
            for shard, group in groupby(digests, layout.shard_of)
            if self._is_shard(shard)
        ]

    def _abandon(self, token: str) -> None:
        # What cannot be removed now is a leftover once the batch is no longer living: the sweep takes it.
        self._living.discard(token)
        with suppress(OSError):
            tree.clear_batch(self._root, token)

    @contextmanager
    def _translated(self, doing: str, passing: tuple[type[OSError], ...] = ()) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, (BlobError, *passing)):
                raise
            raise self._unavailable(doing, error) from error

    def _unavailable(self, doing: str, error: OSError) -> BlobsUnavailable:
        reason = error.strerror or str(error)
        advice = "check free space, permissions and the disk, then try again"
        return BlobsUnavailable(error.errno or errno.EIO, f"{doing} failed: {reason}; {advice}", str(self._path))


def _open_root(path: Path, create: bool) -> int:
    if create:
        _make_root(path)
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = set(os.listdir(root))
        if layout.FORMAT in names:
            try:
                layout.check_format(_read_format(root))
            except FormatUnknown as error:
                raise FormatUnknown(f"{path}/{layout.FORMAT}: {error}") from None
        elif create and names <= {layout.FORMAT_STAGED}:
            durable.write_file(root, layout.FORMAT, layout.FORMAT_STAGED, layout.format_text())
        else:
            raise FormatUnknown(f"{path} is no blob store: it holds no {layout.FORMAT}; name another directory")
    except BaseException:
        os.close(root)
        raise
    return root


def _make_root(path: Path) -> None:
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        durable.make_directory(parent, path.name)
    finally:
        os.close(parent)


def _read_format(root: int) -> bytes:
    try:
        fd = os.open(layout.FORMAT, batch.READ, dir_fd=root)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FormatUnknown("wanted a file, found a link, which is not followed; put the file there") from error
        raise
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _read_all(fd: int, size_bytes: int) -> bytes:
    content = os.read(fd, size_bytes)
    while len(content) < size_bytes:
        more = os.read(fd, size_bytes - len(content))
        if not more:
            break  # cut short since fstat; the codec will say so
        content += more
    return content
