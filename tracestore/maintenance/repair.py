"""Repair: mend what verify finds, and never make it worse.

    look      1 verify, every body read
    search    2 bodies that are needed: in damaged files and quarantine, in a donor, in journals;
                each is staged, durable and invisible, as soon as its digest proves it
    mend      3 set damaged files and strangers aside, each into quarantine/
              4 publish what was found
              5 let the ledger say what is: sizes, one row each, ``lost`` where nothing was found

Nothing is deleted, no row goes. Every action is in the undo log before it is done. Without ``apply``
it is all worked out and nothing is touched. A file that holds its body still (only stored bits
changed), or that the disk refuses to read, stays where it is until a replacement is in hand. Cut
short at any point, the next repair goes on from there; the second of two does nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from blobs import BlobStore, Digest, Staged, codec
from blobs.layout import PACKS, QUARANTINE
from tracestore.database.connection import Database
from tracestore.database.mending import put_ledger_rows
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import StoreBroken
from tracestore.journal import disk
from tracestore.layout import StoreLayout
from tracestore.maintenance import sources
from tracestore.maintenance.in_question import BodyInQuestion, bodies_in_question
from tracestore.maintenance.summary import Damage, Mend, RepairReport
from tracestore.maintenance.undo import UndoLog
from tracestore.maintenance.verify import Progress, verify_store

STAGED_BYTES = 16 * 2**20
"""Bodies in memory at once while they are staged."""

_AT_ONCE = frozenset({"corrupt", "misplaced", "stranger", "symlink"})
_ONCE_REPLACED = frozenset({"flipped", "unreadable"})
_OF_A_BODY = _AT_ONCE | _ONCE_REPLACED | {"missing", "size", "unlisted", "twice", "returned"}
_MENDED = _OF_A_BODY | {"snapshot"}


def repair_store(
    layout: StoreLayout,
    database: Database,
    blobs: BlobStore,
    *,
    apply: bool,
    now_ns: int,
    donor: Path | None = None,
    journals: Sequence[Path] = (),
    bodies_went: Callable[[int], None] | None = None,
    take_snapshot: Callable[[], object] | None = None,
    on_progress: Progress | None = None,
) -> RepairReport:
    """Mend a store that nobody else writes; without ``apply`` say what would be done.

    ``bodies_went`` is told, under the lock, how many bodies will be gone from where a writer saw them.
    ``take_snapshot`` renews a damaged snapshot; without it that remains.
    """
    found = verify_store(database, blobs, data=True, snapshots=layout.snapshots, on_progress=on_progress).findings
    damaged = {layout.root / one.path for one in found if one.kind == "snapshot" and one.path is not None}
    packs = {one.path for one in found if one.path is not None and _is_damaged_pack(one)}
    with blobs.packing, blobs.lock, blob_errors_translated(), blobs.without(packs):
        only_there = verify_store(database, blobs, data=False).findings if packs else ()
        repair = _Repair(database, blobs, found, [one for one in only_there if one.kind == "missing"])
        if not apply:
            repair.search(sources.bodies(layout, blobs, repair.suspects, donor, journals, repair.wanted), stage=False)
            repair.plan()
            return repair.report(None, [one for one in found if one.kind not in _MENDED], applied=False)
        with UndoLog(layout.repairs, now_ns) as log:
            repair.make_room(log)
            repair.search(sources.bodies(layout, blobs, repair.suspects, donor, journals, repair.wanted), stage=True)
            repair.mend(log, bodies_went)
            if take_snapshot is not None:
                for path in damaged:
                    repair.renew(log, path, take_snapshot)
                damaged = set()
    left = list(found)
    if repair.mends:
        left = [one for one in found if one.kind == "snapshot" and damaged]
        left += verify_store(database, blobs, data=False).findings
    return repair.report(log.path, left, applied=True)


class _Repair:
    """One repair of one store, under its lock."""

    def __init__(
        self, database: Database, blobs: BlobStore, found: Sequence[Damage], in_packs: Sequence[Damage]
    ) -> None:
        """``in_packs`` are the bodies that only damaged packs may hold."""
        self._database = database
        self._blobs = blobs
        self._found = found
        self._in_packs = {Digest.parse(one.subject) for one in in_packs}
        self._staged: list[Staged] = []
        self._places: dict[str, str] = {}
        self.mends: list[Mend] = []
        self._odd = [one.path for one in found if one.kind in _AT_ONCE and one.path is not None]
        self._careful = {
            Digest.parse(one.subject): one.path
            for one in found
            if one.kind in _ONCE_REPLACED and one.path is not None and _is_digest(one)
        }
        self._careful_packs = [
            one.path for one in found if one.kind in _ONCE_REPLACED and one.path is not None and _is_damaged_pack(one)
        ]
        accused = {Digest.parse(one.subject) for one in found if one.kind in _OF_A_BODY and _is_digest(one)}
        accused |= self._in_packs
        self._bodies = {body.digest: body for body in bodies_in_question(database, blobs, accused)}
        self.wanted = {d for d, body in self._bodies.items() if body.size_bytes is None and not body.is_evicted}
        self.wanted |= self._bodies.keys() & self._careful.keys()

    @property
    def suspects(self) -> list[str]:
        """Paths of files found damaged, wherever they are now: one may hold a body that another lacks."""
        return [self._places.get(path, path) for path in (*self._odd, *self._careful.values(), *self._careful_packs)]

    def make_room(self, log: UndoLog) -> None:
        """Set aside what stands in the root, where `stage` or a directory of blobs has to be."""
        if QUARANTINE in self._odd:
            wanted = f"wanted a directory at {QUARANTINE}, found something else"
            raise StoreBroken(f"{self._blobs!r}: {wanted}; move it away by hand, then repair")
        self._set_aside(log, [path for path in self._odd if "/" not in path])

    def search(self, found: Iterable[sources.Found], *, stage: bool) -> None:
        """Take what the sources give; stage it, or only take note of it."""
        batch: dict[Digest, bytes] = {}
        batch_bytes = 0
        try:
            for digest, content, origin in found:
                if digest not in self.wanted:
                    continue
                self.wanted.discard(digest)
                body = self._bodies[digest]
                body.size_bytes, body.origin = len(content), origin
                if not stage:
                    body.stored_bytes = len(codec.encode(content))
                    continue
                batch[digest] = content
                batch_bytes += len(content)
                if batch_bytes >= STAGED_BYTES:
                    self._stage(batch)
                    batch, batch_bytes = {}, 0
            self._stage(batch)
        except BaseException:
            for staged in self._staged:
                self._blobs.discard(staged)
            raise

    def mend(self, log: UndoLog, bodies_went: Callable[[int], None] | None) -> None:
        """Do steps 3 to 5."""
        changed = self._changed()
        if bodies_went is not None:
            bodies_went(sum(body.row.state == "lost" for body in changed))
        self._set_aside(log, [path for path in self._to_set_aside() if path not in self._places])
        log.write(*(body.put_entry() for body in self._put()))
        for staged in self._staged:
            self._blobs.publish(staged)
        for one in self._to_protect():
            log.write({"action": "protect", "path": one.path, "was": one.detail})
            self._blobs.protect(one.path or one.subject)
        log.write(*(body.ledger_entry() for body in changed))
        put_ledger_rows(self._database, [body.row for body in changed])
        self._note()

    def renew(self, log: UndoLog, path: Path, take_snapshot: Callable[[], object]) -> None:
        """Take a snapshot in the place of a damaged one, which is kept under another name."""
        aside = path.with_name(f"{path.name}.damaged")
        log.write({"action": "renew", "path": str(path), "to": str(aside)})
        _rename(path, aside)  # first, for a new one shares the files that did not change
        try:
            take_snapshot()
        except BaseException:
            _rename(aside, path)  # a damaged one is more than none
            raise
        self.mends.append(Mend("renew", f"{path.parent.name}/{path.name}", f"to {aside.name}"))

    def plan(self) -> None:
        """Take note of what `make_room` and `mend` would do."""
        aside = self._to_set_aside()
        first = [path for path in aside if "/" not in path]
        self.mends += [Mend("set aside", path, "to quarantine/") for path in dict.fromkeys((*first, *aside))]
        self._note()
        damaged = dict.fromkeys(one.subject for one in self._found if one.kind == "snapshot")
        self.mends += [Mend("renew", path, "by a new one") for path in damaged]

    def report(self, log: str | None, left: Sequence[Damage], *, applied: bool) -> RepairReport:
        """Say what was done, or would be, and what is not as it should be after it."""
        stuck = {str(digest) for digest in self._stuck}
        remaining = [one for one in left if not one.harmless and one.subject not in stuck]
        kept = stuck | (set(self._careful_packs) if self._keeps_packs else set())
        remaining += [one for one in self._found if one.kind in _ONCE_REPLACED and one.subject in kept]
        lost = sum(body.row.state == "lost" for body in self._bodies.values() if body.digest not in self._stuck)
        return RepairReport(applied=applied, mends=tuple(self.mends), remaining=tuple(remaining), lost=lost, log=log)

    @property
    def _stuck(self) -> set[Digest]:
        """What the disk refuses to read, or reads only today, and nobody else has: it is left as it is."""
        return self.wanted & (self._careful.keys() | (self._in_packs if self._careful_packs else set()))

    @property
    def _keeps_packs(self) -> bool:
        """Tell whether packs that cannot be read, or only today, have to stay for what nobody else has."""
        return bool(self._careful_packs and self.wanted & self._in_packs)

    def _stage(self, batch: dict[Digest, bytes]) -> None:
        if batch:
            staged = self._blobs.stage(batch)
            self._staged.append(staged)
            for digest, stored_bytes in staged.stored_bytes.items():
                self._bodies[digest].stored_bytes = stored_bytes

    def _to_set_aside(self) -> list[str]:
        """Return what is wrong where it is, and what has a replacement now."""
        replaced = [path for digest, path in self._careful.items() if digest not in self.wanted]
        packs = () if self._keeps_packs else self._careful_packs
        return list(dict.fromkeys((*self._odd, *replaced, *packs)))

    def _to_protect(self) -> list[Damage]:
        aside = set(self._to_set_aside())
        return [one for one in self._found if one.kind == "mode" and one.path not in aside]

    def _put(self) -> list[BodyInQuestion]:
        return [body for body in self._bodies.values() if body.origin is not None]

    def _changed(self) -> list[BodyInQuestion]:
        """Return the bodies of which rows and ledger do not say what is."""
        return [body for digest, body in self._bodies.items() if digest not in self._stuck and not body.is_right]

    def _set_aside(self, log: UndoLog, paths: Iterable[str]) -> None:
        """Move files into quarantine, each noted first."""
        for path in paths:
            name = self._blobs.name_aside(path)
            log.write({"action": "set aside", "path": path, "to": f"{QUARANTINE}/{name}"})
            with suppress(FileNotFoundError):  # gone since it was looked at
                self._places[path] = self._blobs.set_aside(path, name)
                self.mends.append(Mend("set aside", path, f"to {self._places[path]}"))

    def _note(self) -> None:
        """Add to the report what follows the setting aside."""
        self.mends += [Mend("put back", str(body.digest), f"from {body.origin}") for body in self._put()]
        self.mends += [Mend("protect", one.subject, one.detail) for one in self._to_protect()]
        for body in self._changed():
            row = body.row
            action = "mark lost" if body.is_newly_lost else "correct"
            self.mends.append(Mend(action, str(body.digest), f"{row.size_bytes} bytes, {row.state}"))


def _is_digest(finding: Damage) -> bool:
    return len(finding.subject) == 64 and "/" not in finding.subject


def _is_damaged_pack(finding: Damage) -> bool:
    return finding.kind in ("corrupt", *_ONCE_REPLACED) and (finding.path or "").startswith(f"{PACKS}/")


def _rename(path: Path, to: Path) -> None:
    with disk_errors_translated("set a damaged snapshot aside", str(path)):
        path.rename(to)
    disk.sync_directory(str(path.parent))
