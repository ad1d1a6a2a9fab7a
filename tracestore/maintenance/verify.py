"""Verify: are rows, ledger and blobs what they say of one another?

    1 rows and ledger   every digest a row names has one ledger row, and of the same size
    2 ledger and blobs  every present body has a blob of the size the ledger knows
    3 blobs             names, sizes, and with ``data`` blobs decompressed and hashed, all or a subset
    4 snapshot          the newest one has a manifest and its files, and with ``data`` their hashes

It changes nothing. What it reads twice before it accuses is said in `blobs.verify`. One damage is
one finding: what is wrong with a file explains what the ledger misses. A blob without a ledger row
is an orphan: garbage of a crash, which the next prune removes.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import count, tee
from pathlib import Path

from blobs import BlobStat, BlobStore, Digest, Finding, Subset
from tracestore.database import consistency
from tracestore.database.connection import Database
from tracestore.directory.blob_errors import blob_errors_translated, is_as_recorded
from tracestore.errors import InputInvalid, StoreBroken
from tracestore.maintenance import snapshot
from tracestore.maintenance.summary import Damage, VerifyReport

Progress = Callable[[int, int], None]
"""Takes blobs looked at and blobs there are."""

_PART = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%(?:@([0-9a-f]{16}))?", re.ASCII)

_IN_SEAT = frozenset({"corrupt", "unreadable"})
_ELSEWHERE = frozenset({"misplaced", "stranger", "symlink"})
"""What a file is that was found damaged where its body belongs, and one that is no blob where it is."""


def verify_store(
    database: Database,
    blobs: BlobStore,
    *,
    data: bool,
    subset: str | None = None,
    seed: int | None = None,
    snapshots: Path | None = None,
    on_progress: Progress | None = None,
) -> VerifyReport:
    """Look at everything and return every finding; read bodies with ``data``, or those of a subset.

    ``subset`` is ``n/m``, the n-th of m parts that together are everything, or a percentage, a sample
    that begins where the seed (64 bits, drawn anew) says; the report names it as ``5%@<seed in hex>``,
    which reads the same sample again. ``snapshots`` is the directory of snapshots.
    """
    seed = secrets.randbits(64) if seed is None else seed
    part, name = (None, None) if subset is None else subset_of(subset, seed)
    with blob_errors_translated():
        listed = count()
        suspects = list(_ledger_against_blobs(database, blobs, listed))
        ledger = [*_rows_against_ledger(database), *_second_look(database, blobs, suspects)]
        blob_count = next(listed)
        tell = None if on_progress is None else (lambda done: on_progress(done, blob_count))
        files = list(blobs.verify(data or part is not None, part, tell))
    is_read = data or part is not None
    saved = _newest_snapshot(snapshots, is_read) if snapshots is not None and snapshots.is_dir() else ()
    findings = (*_unexplained(ledger, files), *map(_damage, files), *saved)
    records, bodies, lost = consistency.totals(database)
    return VerifyReport(records, bodies, blob_count, is_read, findings, name, lost)


def subset_of(text: str, seed: int) -> tuple[Subset, str]:
    """Read ``n/m``, ``5%`` or ``5%@<16 hex>``; return the subset and the name that gives it again."""
    try:
        if match := _PART.fullmatch(text):
            return Subset.part(int(match[1]), int(match[2])), text
        if match := _SHARE.fullmatch(text):
            first = seed if match[2] is None else int(match[2], 16)
            return Subset.share(float(Fraction(match[1]) / 100), first), f"{match[1]}%@{first:016x}"
    except ValueError as error:
        raise InputInvalid(f"subset: {error}") from error
    raise InputInvalid(f"subset: wanted a part such as 2/7 or a share such as 5%, found {text!r:.40}")


def _damage(found: Finding) -> Damage:
    is_elsewhere = found.digest is not None and found.kind in _ELSEWHERE
    detail = f"{found.path}: {found.detail}" if is_elsewhere else found.detail
    return Damage(found.kind, str(found.digest or found.path), detail, found.harmless, found.path)


def _unexplained(ledger: Iterable[Damage], files: Iterable[Finding]) -> Iterator[Damage]:
    """Drop what a damaged file explains, and the orphan that is a body without its ledger row."""
    files, ledger = list(files), list(ledger)
    damaged = {str(found.digest) for found in files if found.kind in _IN_SEAT}
    elsewhere = {str(found.digest) for found in files if found.kind in _ELSEWHERE}
    unlisted = {finding.subject for finding in ledger if finding.kind == "unlisted"}
    explaining = {"missing": elsewhere, "size": damaged, "returned": damaged, "orphan": damaged | unlisted}
    return (finding for finding in ledger if finding.subject not in explaining.get(finding.kind, ()))


def _rows_against_ledger(database: Database) -> Iterator[Damage]:
    for digest in consistency.unlisted_digests(database):
        yield Damage("unlisted", digest.hex(), "a record names it, the ledger does not know it")
    for digest, rows in consistency.repeated_digests(database):
        yield Damage("twice", digest.hex(), f"wanted one ledger row, found {rows}")
    for digest, recorded_bytes, size_bytes in consistency.size_conflicts(database):
        yield Damage("size", digest.hex(), f"a record says {recorded_bytes} bytes, the ledger {size_bytes}")


def _ledger_against_blobs(database: Database, blobs: BlobStore, listed: Iterator[int]) -> Iterator[Digest]:
    """Yield what ledger and blobs do not agree about; count the blobs.

    Ascending streams are merged, so that none has to be in memory.
    """
    rows, asked = tee(consistency.ledger(database))
    for digest, is_asked, blob in blobs.compare(digest for digest, _, _ in asked):
        if blob is not None:
            next(listed)
        if not is_asked or _compare(*next(rows), blob) is not None:
            yield digest


def _second_look(database: Database, blobs: BlobStore, suspects: Sequence[Digest]) -> Iterator[Damage]:
    """Yield what is wrong still, without a writer between the look at the ledger and the one at the blob."""
    if not suspects:
        return
    with blobs.lock:
        ledger = {row[0]: row for row in consistency.ledger(database, suspects)}
        for digest in suspects:
            found = blobs.stat(digest)
            if digest in ledger:
                finding = _compare(*ledger[digest], found)
            else:
                finding = None if found is None else _orphan(digest)
            if finding is not None:
                yield finding


def _compare(digest: bytes, stored_bytes: int, state: str, found: BlobStat | None) -> Damage | None:
    """Hold one ledger row against its blob, None where there is none."""
    if state != "present":
        if found is None:
            return None
        if state == "evicted":
            return _orphan(digest)
        return Damage("returned", digest.hex(), "lost, yet a blob is there; repair takes it back", harmless=True)
    if found is None:
        return Damage("missing", digest.hex(), f"wanted a blob of {stored_bytes} bytes, found none")
    if not is_as_recorded(found, stored_bytes):
        return Damage("size", digest.hex(), f"the ledger says {stored_bytes} stored bytes, found {found.stored_bytes}")
    return None


def _newest_snapshot(directory: Path, data: bool) -> Iterator[Damage]:
    """Hold the newest snapshot against its manifest; earlier ones are only there while it is written."""
    name = max((entry.name for entry in directory.iterdir() if entry.name.endswith("Z")), default=None)
    if name is None:
        return
    path = f"{directory.name}/{name}"
    try:
        newest = snapshot.read_manifest(directory / name)
        damages = newest.damages() if data else _wrong_sizes(newest)
        for file, detail in damages:
            yield Damage("snapshot", path, f"{Path(file).name}: {detail}", path=path)
    except (OSError, StoreBroken) as error:
        yield Damage("snapshot", path, f"its manifest: {error}", path=path)


def _wrong_sizes(found: snapshot.Snapshot) -> Iterator[tuple[str, str]]:
    for name, file in found.files.items():
        path = found.path / name
        size_bytes = path.stat().st_size if path.is_file() else None
        if size_bytes != file.size_bytes:
            yield str(path), f"wanted {file.size_bytes} bytes, found {'no file' if size_bytes is None else size_bytes}"


def _orphan(digest: bytes) -> Damage:
    return Damage("orphan", digest.hex(), "no ledger row names it; the next prune removes it", harmless=True)
