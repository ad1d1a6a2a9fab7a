"""A computer that can lose its power: one disk or several, and a store on them."""

import os
import shutil
from pathlib import Path

from tests.faults import disks
from tests.faults.zygote import Zygote
from tracestore import TraceStore

PARTS = ("blobs", "journal", "snapshots")
"""Directories of a store that may lie on a disk of their own."""


class Machine:
    """Mounts and unmounts what belongs together; `close` lets the disks go."""

    def __init__(self, directory: Path, kind: str, apart: bool) -> None:
        directory.mkdir()
        self.name = f"{kind} {'on four disks' if apart else 'on one disk'}"
        self.acks = directory / "acks"
        self.copy = directory / "copy"
        """Files of the store as the last cut left them."""
        self.store = directory / "store" / "store"
        self.journal = directory / ("journal" if apart else "store") / "app.ndjson"
        self._bound = {directory / part / "files": self.store / part for part in PARTS} if apart else {}
        self._mounted: list[Path] = []
        self._disks: dict[Path, disks.Disk] = {}
        for name in ("store", *PARTS) if apart else ("store",):
            disks.format_image(directory / f"{name}.image", kind)
            self._disks[directory / name] = disks.Disk(directory / f"{name}.image", kind)

    def prepare(self, zygote: Zygote) -> None:
        """Make what must be there before a store can lie on several disks: the store, without a record."""
        if not self._bound:
            return
        self._mount_disks()
        made = zygote.run(make_store, str(self.store))
        assert made.error is None, made.error
        for files, part in self._bound.items():
            part.mkdir(mode=0o700, exist_ok=True)
            shutil.copytree(part, files)
        self.stop()

    def start(self) -> None:
        """Mount everything."""
        self._mount_disks()
        for files, part in self._bound.items():
            disks.bind(files, part)
            self._mounted.append(part)

    def stop(self) -> None:
        """Unmount everything."""
        while self._mounted:
            disks.unmount(self._mounted.pop())

    def _mount_disks(self) -> None:
        for place, disk in self._disks.items():
            disk.mount(place)
            self._mounted.append(place)

    def cut(self, someone_syncs: bool) -> None:
        """Take the power from all disks; maybe another program has just synced a file on each."""
        if someone_syncs:
            for place in self._disks:
                _sync_a_file(place / "other")
        for place in self._disks:
            disks.cut_power(place)

    def take_copy(self) -> None:
        """Copy what the cut has left, and the promises."""
        shutil.rmtree(self.copy, ignore_errors=True)
        self.copy.mkdir()
        if self.store.exists():
            shutil.copytree(self.store, self.copy / "store", symlinks=True)
        for file in (self.journal, self.acks):
            if file.exists():
                shutil.copy(file, self.copy)

    def close(self) -> None:
        """Let the disks go."""
        self.stop()
        for disk in self._disks.values():
            disk.close()
            disk.image.unlink()


def make_store(path: str) -> None:
    """Make an empty store. For a process of its own."""
    TraceStore(path).close()


def _sync_a_file(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, b"somebody else's")
        os.fsync(fd)
    finally:
        os.close(fd)
