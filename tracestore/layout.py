"""Where everything lies under a store's root, and the version of that layout.

::

    STORE/
      FORMAT           JSON, written once
      lock             held by the one writer; names its process and command
      socket           where that process answers while it collects
      records.duckdb   rows
      journal/         default place of segments, and rejected.ndjson
        inserted/      the segments of `insert_records`
      snapshots/       the latest good copy of the rows, as Parquet
      snapshot-wanted  a backup asks the process that holds the store for a new one
      removals.ndjson  what was pruned since then
      journals.json    which journals elsewhere were followed
      blobs/           bodies: self-sufficient, rsync it and every body can be read back
      repairs/         what repair did, and what was there before
      no-pack          bodies stay in files of their own, as long as this is here
      tmp/             what DuckDB spills while it sorts; emptied at every opening

An unknown version or requirement in ``FORMAT`` is an error, never a guess. No link in the directory is
followed, and nothing odd may stand where a file belongs: a store that was copied, or unpacked from
somebody's archive, may hold a link to a file of its next owner, or a pipe that never answers.
"""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from tracestore.errors import StoreBroken, StoreNotFound

FORMAT_VERSION = 1
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """The paths of one store."""

    root: Path

    @property
    def format(self) -> Path:
        """The file that makes a directory a store."""
        return self.root / "FORMAT"

    @property
    def lock(self) -> Path:
        """The file that a writer holds."""
        return self.root / "lock"

    @property
    def socket(self) -> Path:
        """The Unix socket of the process that collects."""
        return self.root / "socket"

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.root / "records.duckdb"

    @property
    def no_pack(self) -> Path:
        """The file that keeps bodies out of packs."""
        return self.root / "no-pack"

    @property
    def removals(self) -> Path:
        """What was pruned since the latest snapshot."""
        return self.root / "removals.ndjson"

    @property
    def journals(self) -> Path:
        """The journals elsewhere that this store ever followed."""
        return self.root / "journals.json"

    @property
    def snapshots(self) -> Path:
        """The directory of snapshots."""
        return self.root / "snapshots"

    @property
    def snapshot_request(self) -> Path:
        """Made by a backup that waits for a snapshot of the process that holds the store."""
        return self.root / "snapshot-wanted"

    @property
    def journal(self) -> Path:
        """The default place of journal segments."""
        return self.root / "journal"

    @property
    def inserted(self) -> Path:
        """The segments of `insert_records`; the store drains them by itself."""
        return self.journal / "inserted"

    @property
    def rejected(self) -> Path:
        """The lines that were no records, verbatim."""
        return self.journal / "rejected.ndjson"

    @property
    def blobs(self) -> Path:
        """The directory of bodies."""
        return self.root / "blobs"

    @property
    def scratch(self) -> Path:
        """Where DuckDB may spill; nothing in it outlives a process."""
        return self.root / "tmp"

    @property
    def repairs(self) -> Path:
        """The undo logs of repair."""
        return self.root / "repairs"

    def is_store(self) -> bool:
        """Tell whether the root holds a store."""
        return self.format.exists()

    def is_unused(self) -> bool:
        """Tell whether a store may be created here.

        It may where nothing is, where a creation was cut short, and where so far only a producer has
        been, which began with the journal.
        """
        if not self.root.exists():
            return True
        if not self.root.is_dir():
            return False
        ours = ("lock", "journal", "FORMAT", "FORMAT.new")
        return all(entry.name in ours for entry in self.root.iterdir())


def format_text() -> bytes:
    """Return the content of ``FORMAT``."""
    return json.dumps({"format": FORMAT_VERSION, "requires": []}).encode() + b"\n"


def check_format(content: bytes, path: Path) -> None:
    """Refuse a store of a version or with a requirement that this release does not know."""
    wanted = f"format {FORMAT_VERSION} without requirements"
    try:
        found = json.loads(content)
        if "digest" in found:
            raise StoreNotFound(f"{path.parent}: wanted a store, found a directory of blobs; give the store it is in")
        version, requires = found["format"], found["requires"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreBroken(f"{path}: wanted {wanted}, found {content[:60]!r}; restore it from a backup") from error
    if version != FORMAT_VERSION or requires:
        raise StoreBroken(
            f"{path}: wanted {wanted}, found format {version} requiring {requires}; use a newer tracestore"
        )


def refuse_links(layout: StoreLayout) -> None:
    """Raise StoreBroken for a link in the store's directory, or for what is no file or directory where one belongs.

    To be called before anything is opened by its path; blobs and journal segments are looked at where
    they are opened. The directory itself may be a link: whoever named it knows where it leads.
    """
    directories = {layout.journal, layout.inserted, layout.blobs, layout.snapshots, layout.repairs, layout.scratch}
    files = {layout.format, layout.lock, layout.database, layout.rejected}
    entries = sorted(layout.root.iterdir()) if layout.root.is_dir() else []
    for path in (*entries, layout.rejected, layout.inserted):
        if not os.path.lexists(path):
            continue
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise _refused(path, "a file or directory of this store", "a symbolic link")
        if path in directories and not stat.S_ISDIR(mode):
            raise _refused(path, "a directory", "something else")
        if (path in files or path.suffix == ".wal") and not stat.S_ISREG(mode):
            raise _refused(path, "a regular file", "something else")


def _refused(path: Path, wanted: str, found: str) -> StoreBroken:
    return StoreBroken(f"{path}: wanted {wanted}, found {found}, which is not followed; move it away, then try again")
