"""The directory packs/ of one store: its files opened, written, named, noted and removed. Translates OSError.

What changes it is for one process, whose caller holds the store's lock.
"""

import errno
import os
import secrets
import stat as st
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blobs import durable, layout
from blobs.backends.base import Deleted, Staged
from blobs.digest import Digest
from blobs.errors import BlobCorrupt, BlobError, BlobsUnavailable
from blobs.packs.pack import BLOCK_BYTES, Pack, open_file
from blobs.packs.writer import PackInWriting

_OF_ONE_FILE = frozenset({errno.EIO, errno.EACCES, errno.EPERM})
"""What the disk says of one file that it cannot give."""
_NOT_A_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP})
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PackDirectory:
    """Where the packs of a store lie; without a path there is no such place."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._root = self._directory = -1
        self._living: set[str] = set()
        self.damaged: dict[str, BlobError] = {}
        """Packs that could not be opened, by path."""
        if path is not None:
            with self.translated("opening packs"):
                self._root = durable.open_directory(os.fspath(path))

    @property
    def is_possible(self) -> bool:
        """Tell whether there can be packs here."""
        return self._root >= 0

    def open_packs(self) -> list[Pack]:
        """Open every pack, the newest first, and take note of those that are damaged."""
        with self.translated("opening packs"):
            if self._root < 0 or not self._open_directory():
                return []
            for fd in (self._root, self._directory):  # whoever gave a name here may have died before it was durable
                durable.sync_directory(fd)
            found = []
            for name in os.listdir(self._directory):
                parsed = layout.parse_pack_name(name)
                if parsed is not None and parsed[1] == layout.PACK_SUFFIX:
                    with suppress(FileNotFoundError):  # a link, which verify reports, or gone since it was listed
                        found += self._open(parsed[0])
        return sorted(found, key=lambda pack: (-pack.made_at_s, pack.name))

    @contextmanager
    def writing(self, level: int) -> Iterator[PackInWriting]:
        """Begin a pack of this level; unless `finish` was called at the end of it, nothing stays behind."""
        with self.translated("writing a pack"):
            if self._directory < 0:
                durable.make_directory(self._root, layout.PACKS)
                self._directory = durable.open_directory(layout.PACKS, self._root)
            token = secrets.token_hex(8)
            self._living.add(token)
            try:
                fd = os.open(token + layout.UNFINISHED, _NEW_FILE, layout.FILE_MODE, dir_fd=self._directory)
                try:
                    begun = PackInWriting(fd, token, level)
                    yield begun
                finally:
                    os.close(fd)
            except BaseException:
                self.abandon(token)
                raise
            if begun.staged is None:
                self.abandon(token)

    def publish(self, staged: Staged) -> Pack:
        """Give a staged pack its name, durably; on an error nothing of it may be relied upon."""
        if staged.pack is None:
            raise ValueError("a batch of loose blobs is no pack")
        unfinished, name = staged.token + layout.UNFINISHED, layout.pack_name(staged.pack)
        with self.translated("publishing a pack"):
            try:
                require_packs(self._root)
                os.rename(unfinished, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
                durable.sync_directory(self._directory)
                pack = Pack(self._directory, staged.pack)
            except BaseException:
                with suppress(OSError):  # it may have its name already
                    os.unlink(name, dir_fd=self._directory)
                self.abandon(staged.token)
                raise
        self._living.discard(staged.token)
        return pack

    def abandon(self, token: str) -> None:
        """Remove a pack that is being written; one that was published is left alone."""
        with suppress(OSError):  # what cannot be removed now is a leftover once nobody writes it
            os.unlink(token + layout.UNFINISHED, dir_fd=self._directory)
        self._living.discard(token)

    def write_note(self, pack: Pack) -> Deleted:
        """Write down which bodies of a pack are dead; returns the bytes that this gives back, or below zero takes."""
        with self.translated("writing down what is dead"):
            name = layout.dead_name(pack.name)
            _, before_bytes = self._note(pack)
            durable.write_file(self._directory, name, name + layout.UNFINISHED, pack.dead.encode(pack.name))
            pack.is_noted = True
            return Deleted(0, before_bytes - self._note(pack)[1])

    def noted_at_s(self, pack: Pack) -> float:
        """Return when it was last written down which bodies of a pack are dead; without a note, when it was made."""
        with self.translated("looking at what is dead"):
            return self._note(pack)[0]

    def has(self, pack: Pack) -> bool:
        """Tell whether the file of a pack is there."""
        with suppress(OSError):
            return bool(os.stat(layout.pack_name(pack.name), dir_fd=self._directory, follow_symlinks=False))
        return False

    def remove(self, pack: Pack) -> Deleted:
        """Remove the file of a pack."""
        with self.translated("removing a pack"):
            return self._unlink(layout.pack_name(pack.name))

    def remove_note(self, pack: Pack) -> Deleted:
        """Remove what is written of the dead of a pack."""
        with self.translated("removing what is written of a pack"):
            return self._unlink(layout.dead_name(pack.name))

    def listing(self, packs: Collection[Digest]) -> Iterator[tuple[str, int, bool]]:
        """Yield the name and mode of every file, and whether it is a leftover; these packs are known."""
        if self._directory < 0:
            return
        with self.translated("looking through packs/"):
            for name in sorted(os.listdir(self._directory)):
                with suppress(FileNotFoundError):
                    mode = os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_mode
                    yield name, mode, self._is_leftover(name, packs)

    def clear_leftovers(self, packs: Collection[Digest]) -> Deleted:
        """Remove what crashes left: packs being written, and notes of packs that are gone; these are known."""
        total = Deleted()
        if self._directory < 0:
            return total
        with self.translated("clearing packs/"):
            for name in os.listdir(self._directory):
                if self._is_leftover(name, packs):
                    total += self._unlink(name)
        return total

    def close(self) -> None:
        """Let go of the directory; may be called twice."""
        descriptors, self._root, self._directory = (self._root, self._directory), -1, -1
        for fd in descriptors:
            if fd >= 0:
                with suppress(OSError):  # nothing was written through it, and it is gone whatever close says
                    os.close(fd)

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Say of an OSError what was being done, and what to do about it."""
        try:
            yield
        except OSError as error:
            if isinstance(error, BlobError):
                raise
            advice = "check free space, permissions and the disk, then try again"
            text = f"{doing} failed: {error.strerror or error}; {advice}"
            raise BlobsUnavailable(error.errno or errno.EIO, text, str(self.path)) from error

    def _open_directory(self) -> bool:
        try:
            self._directory = durable.open_directory(layout.PACKS, self._root)
        except FileNotFoundError:
            return False
        except OSError as error:  # a file or a link in its place: verify reports it, and nothing in it counts
            if error.errno not in _NOT_A_DIRECTORY:
                raise  # an empty directory would make everything in it seem lost
            self.damaged[layout.PACKS] = BlobCorrupt("a directory", "something else", None, layout.PACKS)
            return False
        return True

    def _open(self, name: Digest) -> list[Pack]:
        try:
            pack = Pack(self._directory, name)
        except BlobCorrupt as error:
            self.damaged[layout.pack_path(name)] = error
            return []
        except OSError as error:
            if error.errno not in _OF_ONE_FILE:
                raise
            path = layout.pack_path(name)
            self.damaged[path] = BlobsUnavailable(error.errno, f"opening it failed: {error.strerror}", path)
            return []
        pack.read_dead()
        return [pack]

    def _note(self, pack: Pack) -> tuple[float, int]:
        """Return the time of the note beside a pack, and the bytes that it takes."""
        with suppress(FileNotFoundError):
            found = os.stat(layout.dead_name(pack.name), dir_fd=self._directory, follow_symlinks=False)
            return found.st_mtime, found.st_blocks * BLOCK_BYTES
        return pack.made_at_s, 0

    def _is_leftover(self, name: str, packs: Collection[Digest]) -> bool:
        """Tell whether nobody needs a file: a pack nobody writes any more, or a note of a pack that is gone."""
        if layout.is_unfinished_name(name):
            return name.removesuffix(layout.UNFINISHED) not in self._living
        parsed = layout.parse_pack_name(name)
        if parsed is None or parsed[1] != layout.DEAD_SUFFIX:
            return False
        return parsed[0] not in packs and layout.pack_path(parsed[0]) not in self.damaged

    def _unlink(self, name: str) -> Deleted:
        try:
            found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            if st.S_ISDIR(found.st_mode):
                return Deleted()  # a stranger, whatever its name
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return Deleted()
        return Deleted(1, found.st_blocks * BLOCK_BYTES)


def require_packs(root_fd: int) -> None:
    """Write it down, durably, unless it is written; lets OSError and FormatUnknown through."""
    fd = open_file(root_fd, layout.FORMAT)
    try:
        required = layout.check_format(os.read(fd, 4096))
    finally:
        os.close(fd)
    if layout.PACKS_REQUIRED not in required:
        content = layout.format_text([layout.PACKS_REQUIRED])
        durable.write_file(root_fd, layout.FORMAT, layout.FORMAT_STAGED, content)
