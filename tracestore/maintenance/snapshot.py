"""Snapshots: the latest good copy of the rows, from which a lost database is made again.

Constraints. Taking one costs what changed, not what is stored; any engine that reads Parquet reads
it; a crash at any point leaves the earlier one; one format serves snapshot, backup and export.

Layout. A snapshot is a directory, whole in itself, named by the UTC time it was taken::

    snapshots/20261123T070502.123456Z/
      records-00000000.parquet ...   rows by order of insertion, SLOT_ROWS numbers to a file
      gone.parquet                   bodies that were evicted or lost; all others follow from rows and blobs
      positions.parquet rejected.parquet prunes.parquet
      MANIFEST.json                  every file with rows, bytes and BLAKE3; how far each segment was read

Write. Into ``<name>.new``: parts that did not change are hard links into the snapshot before, the
others are written, synced and read back through the database's own reader; then the manifest, then
the rename. Only then the earlier ones are removed.

Read. `newest` returns the latest one whose files are what the manifest says; where there are some and
none is whole it refuses, for the segments that they covered are gone.
"""

import json
import mmap
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from blobs import Digest
from tracestore.database.connection import Database
from tracestore.database.snapshot import SMALL_TABLES, SnapshotReader, Written, consistent, schema_version
from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.directory.durable import UNFINISHED
from tracestore.errors import StoreBroken, StoreUnavailable
from tracestore.layout import DIRECTORY_MODE, FILE_MODE

FORMAT_VERSION = 1
MANIFEST = "MANIFEST.json"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a snapshot."""

    rows: int
    size_bytes: int
    blake3: str
    names: str = ""
    """Of a part: checksum over the ids of its rows."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished snapshot."""

    path: Path
    taken_at_ns: int
    schema: int
    offsets: Mapping[int, int]
    """How far each journal segment was read, by segment id."""
    files: Mapping[str, File]

    @property
    def rows(self) -> int:
        """Number of records."""
        return sum(file.rows for name, file in self.files.items() if name.startswith("records-"))

    @property
    def parts(self) -> list[Path]:
        """The files of rows, in order."""
        return [self.path / name for name in sorted(self.files) if name.startswith("records-")]

    @property
    def tables(self) -> dict[str, Path]:
        """The files of the small tables, by name."""
        return {name: self.path / f"{name}.parquet" for name in SMALL_TABLES}

    def damages(self) -> Iterator[tuple[str, str]]:
        """Yield path and what is wrong of every file that is not what the manifest says."""
        for name, file in self.files.items():
            path = self.path / name
            try:
                found = _measure(path)
            except OSError as error:
                yield str(path), f"cannot be read: {error.strerror}"
                continue
            if found != (file.size_bytes, file.blake3):
                wanted = f"{file.size_bytes} bytes of BLAKE3 {file.blake3}"
                yield str(path), f"wanted {wanted}, found {found[0]} of {found[1]}"


def take(database: Database, directory: Path, now_ns: int) -> Snapshot:
    """Write a snapshot and remove the earlier ones; raises StoreUnavailable, and then those stay."""
    before = latest(directory)
    taken_at_ns = max(now_ns, before.taken_at_ns + 1000 if before else 0)  # names ascend, whatever the clock does
    with disk_errors_translated("read or take a snapshot", directory):
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        durable.sync_directory(directory.parent)
        while (path := directory / _name(taken_at_ns)).exists():  # a damaged one, whose time nobody can read
            taken_at_ns += 1000
        unfinished = path.with_name(path.name + UNFINISHED)
        _clear(directory, keep={earlier.name for earlier in finished(directory)})
        unfinished.mkdir(mode=DIRECTORY_MODE)
        with consistent(database) as reader:
            offsets = reader.offsets()
            files = dict(_write_files(reader, unfinished, before))
        snapshot = Snapshot(path, taken_at_ns, schema_version(), offsets, files)
        _write_manifest(unfinished, snapshot)
        unfinished.rename(path)
        durable.sync_directory(directory)
        _clear(directory, keep={path.name})
    return snapshot


def latest(directory: Path) -> Snapshot | None:
    """Return the latest snapshot with a manifest that can be read; its files are not looked at.

    StoreUnavailable when the disk does not let it be read: that is not "none".
    """
    for path in finished(directory):
        with suppress(StoreBroken):  # `verify` tells of it, an earlier one may be whole
            return read_manifest(path)
    return None


def newest(directory: Path) -> Snapshot | None:
    """Return the latest snapshot that is whole, every file read and hashed; None where none was ever taken.

    Fails closed: StoreBroken when there are snapshots and none is whole, for what they hold is nowhere else.
    """
    damages = []
    for path in finished(directory):
        try:
            found = read_manifest(path)
            damage = next(found.damages(), None)
        except StoreBroken as error:
            damage = (str(path), str(error))
        if damage is None:
            return found
        damages.append(f"{damage[0]}: {damage[1]}")
    if damages:
        advice = "restore a backup, or move the directory of snapshots away to go on without what they hold"
        raise StoreBroken(f"wanted a whole snapshot, found none: {'; '.join(damages)}; {advice}")
    return None


def finished(directory: Path) -> list[Path]:
    """Return the directories of finished snapshots, the latest first."""
    with disk_errors_translated("read or take a snapshot", directory):
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return []
        return [directory / name for name in sorted(filter(_NAME.fullmatch, names), reverse=True)]


def read_manifest(path: Path) -> Snapshot:
    """Return what the manifest in a snapshot's directory says; StoreBroken when it is none of ours."""
    wanted = f"the manifest of a snapshot of format {FORMAT_VERSION} and schema {schema_version()} or older"
    content = b""
    try:
        with disk_errors_translated("read a snapshot", path):
            content = (path / MANIFEST).read_bytes()
        found = json.loads(content)
        if found["format"] != FORMAT_VERSION or found["schema"] > schema_version():
            raise StoreBroken(f"{path}: wanted {wanted}, found format {found['format']}; use a newer tracestore")
        return Snapshot(
            path,
            int(found["taken_at_ns"]),
            int(found["schema"]),
            {int(key): int(offset) for key, offset in found["offsets"].items()},
            {str(name): File(**file) for name, file in found["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreBroken(f"{path}: wanted {wanted}, found {content[:60]!r}; take a new one") from error


def _write_files(reader: SnapshotReader, path: Path, before: Snapshot | None) -> Iterator[tuple[str, File]]:
    for slot in reader.slots():
        name = f"records-{slot.number:08}.parquet"
        known = before.files.get(name) if before and before.schema == schema_version() else None
        is_same = known and (known.rows, known.names) == (slot.rows, slot.names)
        if before and known and is_same and _link(before.path / name, path / name, known):
            yield name, known
            continue
        yield name, _finish(reader, path / name, reader.write_slot(slot.number, path / name), slot.names)
    for table in SMALL_TABLES:
        name = f"{table}.parquet"
        yield name, _finish(reader, path / name, reader.write_table(table, path / name))


def _link(source: Path, target: Path, wanted: File) -> bool:
    """Share an unchanged part with the snapshot before; False where that cannot be."""
    try:
        if source.stat().st_size != wanted.size_bytes:
            return False
        os.link(source, target)
    except OSError:
        return False
    return True


def _finish(reader: SnapshotReader, path: Path, written: Written, names: str = "") -> File:
    """Make a file durable, and prove that it gives back what was written."""
    path.chmod(FILE_MODE)
    durable.sync_file(path)
    found = reader.read_back(path)
    if found != written:
        raise StoreUnavailable(f"{path}: wanted {written} back, found {found}; check the disk, then try again")
    return File(written.rows, *_measure(path), names)


def _write_manifest(directory: Path, snapshot: Snapshot) -> None:
    content = {
        "format": FORMAT_VERSION,
        "schema": snapshot.schema,
        "taken_at_ns": snapshot.taken_at_ns,
        "offsets": {str(key): offset for key, offset in snapshot.offsets.items()},
        "files": {name: asdict(file) for name, file in snapshot.files.items()},
    }
    durable.write_file(directory / MANIFEST, json.dumps(content, indent=1).encode() + b"\n")


def _clear(directory: Path, keep: set[str]) -> None:
    """Remove every other snapshot, finished or not."""
    for name in os.listdir(directory):
        if name not in keep and _NAME.fullmatch(name.removesuffix(UNFINISHED)):
            shutil.rmtree(directory / name)


def _measure(path: Path) -> tuple[int, str]:
    """Return size and BLAKE3 of a file."""
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if not size_bytes:
            return 0, Digest.of(b"").hex()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return size_bytes, Digest.of(content).hex()


def _name(taken_at_ns: int) -> str:
    seconds, rest_ns = divmod(taken_at_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{rest_ns // 1000:06}Z"
