"""The order of the real system calls of one cycle, checked against the write protocol.

A power cut shows a missing fsync only where the file system does not happen to make up for it: on
one ext4 or xfs, any later fsync also commits earlier renames. POSIX promises none of that. So this
check reads what `strace` saw the whole process do, DuckDB's C++ too, and keeps account of what a
disk need not hold yet: the content of a file until it is synced, a name until its directory is.
Wherever the process relies on something, all that is under it must be synced by then:

    a rename        the content behind the new name; of a pack, FORMAT as well, which says that there are packs
    the database    bodies and their names, journal lines that an offset covers, rejected lines, what
                    is noted for a rebuild: before a byte of the commit is in the write-ahead log
    a promise       everything in the store, or in the backup
    a deletion      of a body or a pack: the commit that forgot it, and every other copy; likewise where bodies
                    are noted as given up; of a segment or a snapshot: what covers it

Two lives are traced: a cycle of the workload, and one of maintenance: rebuild, repair, backup, restore, forget.
Run as a program it is the process that is traced: `python -m tests.faults.trace ROOT SEED LIFE [STEP]`.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blobs import layout
from tests.faults import acks, steps, workload
from tests.faults.zygote import REPOSITORY
from tracestore import TraceStore
from tracestore.layout import StoreLayout
from tracestore.maintenance.backup import back_up
from tracestore.maintenance.restore import restore
from tracestore.maintenance.rsync import Place

TRACED = (
    "openat,open,creat,pread64,write,writev,pwrite64,pwritev,ftruncate,truncate,fallocate,copy_file_range,sendfile,"
    "fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?", re.DOTALL)
_PATH = re.compile(r'(?:\d+|AT_FDCWD)<([^>]*)>|"((?:[^"\\]|\\.)*)"')
_WORKS_IN = re.compile(r"AT_FDCWD<([^>]*)>")
_UNFINISHED = " <unfinished ...>"
_WRITES = {
    "write", "writev", "pwrite64", "pwritev", "ftruncate", "truncate", "fallocate", "copy_file_range", "sendfile",
}  # fmt: skip

Life = Literal["cycle", "maintenance"]

DATABASE, LOG = "store/records.duckdb", "store/records.duckdb.wal"
BLOB_FORMAT, PACKS, OBJECTS = "store/blobs/FORMAT", "store/blobs/packs", "store/blobs/objects"
COPIES = (OBJECTS, PACKS)
JOURNAL, SNAPSHOTS, PRODUCER = "store/journal", "store/snapshots", "app.ndjson"
NOTES = ("store/removals.ndjson", "store/journals.json")
"""What a rebuild has to know, beside the journal and the snapshot."""
FREE = ("store/lock", "store/tmp", "store/blobs/stage")
"""What means nothing after a crash: nobody relies on it."""
PROMISES = {
    **dict.fromkeys(("inserted", "collected", "pruned", "compacted", "snapshot", "rebuilt", "repaired"), "store"),
    "forgotten": "store", "packed": "store/blobs", "unpacked": "store/blobs", "backed up": "backup",
    "restored": "restored",
}  # fmt: skip
"""Each promise, and where everything must be durable then."""
COMPLETE = {"backup/BACKUP.json": "backup", "restored/FORMAT": "restored"}
"""Names that say of a directory that it is whole."""
LEFT_BEHIND = f"{JOURNAL}/inserted/{workload.BASE_MS}-1-0.ndjson"
"""What a killed process inserted and never synced; nothing relies on it before it is read."""


@dataclass(frozen=True, slots=True)
class Call:
    """One successful system call; paths are relative to the directory of the try."""

    name: str
    paths: tuple[str, ...]
    text: str


def run(root: Path, seed: int, without: str | None = None, life: Life = "cycle") -> list[str]:
    """Trace one life in an empty directory, maybe without a safety step; return what breaks the protocol."""
    log = root / "strace"
    command = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "100", "-o", str(log), "-e", f"trace={TRACED}"]
    program = [sys.executable, "-m", __name__, str(root), str(seed), life, *([without] if without else [])]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([*command, *program], capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    if done.returncode:
        raise RuntimeError(f"the traced workload failed: {done.stderr}")
    return list(dict.fromkeys(breaches(calls(log.read_text(errors="replace"), str(root)))))


def can_trace() -> bool:
    """Tell whether strace is here and may trace."""
    return bool(shutil.which("strace")) and not subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"]).returncode


def calls(log: str, root: str) -> Iterator[Call]:
    """Yield the successful calls below a directory, in the order in which they ended."""
    unfinished: dict[str, str] = {}
    directories: dict[str, str] = {}  # where each process works: rsync gives names relative to that
    for entry in log.splitlines():
        pid, text = _LINE.match(entry).groups()
        if text.endswith(_UNFINISHED):
            unfinished[pid] = text.removesuffix(_UNFINISHED)
            continue
        if text.startswith("<... "):
            text = unfinished.pop(pid) + text.partition(" resumed>")[2]
        if works_in := _WORKS_IN.search(text):
            directories[pid] = works_in[1]
        match = _CALL.match(text)
        if match is None or int(match[3]) < 0:
            continue
        name, arguments, _, returned = match.groups()
        paths = tuple(_paths(name, arguments, returned, directories.get(pid, "")))
        if all(path == root or path.startswith(root + "/") for path in paths):
            yield Call(name, tuple(os.path.relpath(path, root) for path in paths), arguments)


def _paths(name: str, arguments: str, returned: str | None, directory: str) -> list[str]:
    """Return the absolute paths that a call is about."""
    if name in ("openat", "open", "creat"):
        return [returned or ""] if "O_CREAT" in arguments or name == "creat" else []
    found = [(fd, text) for fd, text in _PATH.findall(arguments)]
    if name in _WRITES or name in ("pread64", "fsync", "fdatasync", "syncfs"):
        return [found[0][0].removesuffix(" (deleted)")]
    paths = []
    for fd, text in found:
        if fd:
            directory = fd
        else:
            paths.append(os.path.join(directory, text))
    return paths


class Disk:
    """What need not be on the disk yet."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.read: set[str] = set()
        self.content: set[str] = set()
        self.names: dict[str, str] = {}
        """Path to what became of the name, "made" or "gone", since its directory was synced."""

    def apply(self, call: Call) -> None:
        """Account for a call."""
        path = call.paths[0] if call.paths else ""
        match call.name:
            case "openat" | "open" | "creat" | "mkdir" | "mkdirat" if path and path not in self.known:
                self._name(path, "made")
            case name if name in _WRITES:
                if (name, path) != ("ftruncate", DATABASE):  # an end that stays on is no harm
                    self.content.add(path)
            case "pread64":
                self.read.add(path)
            case "fsync" | "fdatasync":
                self.content.discard(path)
                self.names = {name: what for name, what in self.names.items() if (os.path.dirname(name) or ".") != path}
            case "syncfs":
                self.content.clear()
                self.names.clear()
            case "rename" | "renameat" | "renameat2" | "link" | "linkat":
                self._move(path, call.paths[1])
            case "unlink" | "unlinkat" | "rmdir":
                self.content.discard(path)
                self._name(path, "gone")

    def unsynced(self, *places: str) -> list[str]:
        """Return what is not synced at or below some places, for a person."""
        content = [f"the content of {path}" for path in sorted(self.content - self._unread) if _is_in(path, places)]
        return content + [
            f"the name {path}"
            for path, what in sorted(self.names.items())
            if what == "made" and _is_in(path, places)
        ]

    @property
    def _unread(self) -> set[str]:
        return {LEFT_BEHIND} - self.read

    def _name(self, path: str, what: str) -> None:
        self.names[path] = what
        (self.known.add if what == "made" else self.known.discard)(path)

    def _move(self, before: str, after: str) -> None:
        self.content = {_moved(path, before, after) for path in self.content if path != after}
        self.names = {_moved(path, before, after): what for path, what in self.names.items()}
        self.known = {_moved(path, before, after) for path in self.known}
        self._name(before, "gone")
        self._name(after, "made")


def breaches(traced: Iterable[Call]) -> Iterator[str]:
    """Yield where something was relied upon before it was durable."""
    disk = Disk()
    for call in traced:
        early, about = _relied_upon(disk, call)
        for what in early:
            yield f"{about} before {_plain(what)} was durable"
        disk.apply(call)


def _relied_upon(disk: Disk, call: Call) -> tuple[list[str], str]:
    """Return what must be durable by now and is not, and what relies on it."""
    path = call.paths[0] if call.paths else ""
    if call.name in _WRITES and path == "acks":
        event = call.text.split('\\"')[3]
        early = disk.unsynced(PROMISES[event]) if event in PROMISES else []
        return [what for what in early if not any(free in what for free in FREE)], f"{event!r} was promised"
    if call.name in _WRITES and path == LOG:
        lines = [what for what in disk.unsynced(PRODUCER) if "content" in what]
        return disk.unsynced(*COPIES, JOURNAL, *NOTES) + lines, "the database took note"
    if call.name.startswith("rename") and (whole := COMPLETE.get(call.paths[1])):
        return [what for what in disk.unsynced(whole) if what != f"the name {path}"], f"{call.paths[1]} got its name"
    if call.name.startswith("rename") and _is_in(path, (PACKS,)):
        is_dead = call.paths[1].endswith(layout.DEAD_SUFFIX)
        early = disk.unsynced(path, *(COPIES if is_dead else [BLOB_FORMAT]))
        return [what for what in early if what != f"the name {path}"], f"a {Path(call.paths[1]).suffix} got its name"
    if call.name.startswith("rename") and _is_in(path, ("store",)):
        return [what for what in disk.unsynced(path) if "content" in what], "a name was given"
    if call.name.startswith("unlink") and _is_in(path, COPIES) and not path.endswith(layout.UNFINISHED):
        return disk.unsynced(LOG, *COPIES), "a body was deleted"
    if call.name.startswith("unlink") and _is_in(path, (JOURNAL, SNAPSHOTS)):
        return disk.unsynced(SNAPSHOTS, LOG, DATABASE), "a segment or a snapshot was deleted"
    return [], ""


def _is_in(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place + "/") for place in places)


def _moved(path: str, before: str, after: str) -> str:
    return after + path.removeprefix(before) if _is_in(path, (before,)) else path


def _plain(text: str) -> str:
    """Name a place instead of one of its files, so that each breach is told once."""
    text = re.sub(r"[0-9a-f]{16,}|(?<=objects/)[0-9a-f]{2}", "*", text)
    return re.sub(r"\d[\dTZ-]{3,}", "N", text)


def cycle(root: str, seed: int) -> None:
    """Run a cycle, leave what a process that was killed between an append and its sync leaves, open it again."""
    store, journal, ack = f"{root}/store", f"{root}/app.ndjson", acks.appending_to(f"{root}/acks")
    after = workload.run(store, journal, seed, ack)
    workload.append(f"{root}/{LEFT_BEHIND}", workload.line(seed, after))
    directory_fd = os.open(os.path.dirname(f"{root}/{LEFT_BEHIND}"), os.O_RDONLY)
    os.fsync(directory_fd)  # a writer makes the name durable before it appends
    os.close(directory_fd)
    with TraceStore(store) as opened:
        opened.insert_records([workload.record(seed, after + 1)])
        opened.stats()


def maintenance(root: str, seed: int) -> None:
    """Lose and damage things, and mend them; copy the store, and forget a part of it."""
    path, ack = Path(root) / "store", acks.appending_to(f"{root}/acks")
    with TraceStore(path) as store:
        store.insert_records([workload.record(seed, number) for number in range(20)])
    (path / "records.duckdb").unlink()
    with TraceStore(path) as store:
        ack({"op": "rebuilt"})
        damaged = max((path / "blobs" / "objects").glob("??/*.gz"), key=lambda blob: blob.stat().st_size)
        damaged.chmod(0o600)
        with damaged.open("r+b") as blob:
            blob.truncate(damaged.stat().st_size - 9)
            os.fsync(blob.fileno())
        store.repair(apply=True)
        ack({"op": "repaired"})
        with workload.scaled_down():
            store.pack(grace_ms=workload.AT_ONCE_MS)
        ack({"op": "packed"})
    leave_a_pack(path / "blobs" / "packs")
    with TraceStore(path) as store:
        store.insert_records([workload.record(seed, 20)])
        store.stats()
        back_up(StoreLayout(path), Place.parse(f"{root}/backup"), store.snapshot, tell=lambda text: None)
        ack({"op": "backed up"})
        store.forget(turn_id=workload.record(seed, 0)["turnId"])
        ack({"op": "forgotten"})
    restore(Place.parse(f"{root}/backup"), StoreLayout(Path(root) / "restored"))
    ack({"op": "restored"})


def leave_a_pack(directory: Path) -> None:
    """Give a pack its name and do not sync it, as a process leaves it that is killed between the two."""
    pack = next(directory.glob("*.pack"))
    pack.rename(directory / f"{0:016x}{layout.UNFINISHED}").rename(pack)


LIVES: dict[Life, Callable[[str, int], None]] = {"cycle": cycle, "maintenance": maintenance}

if __name__ == "__main__":
    root, seed, life, *removed = sys.argv[1:]
    for step in removed:
        steps.remove(step)
    LIVES[life](root, int(seed))
