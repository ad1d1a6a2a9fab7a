"""Where a body that is missing may still be: in the store itself, in a donor, in a journal.

Nothing is believed: what counts is the digest of the bytes, never the name they are found under.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

from blobs import BlobError, BlobStore, Digest
from blobs.layout import OBJECTS, QUARANTINE
from tracestore.directory.blob_errors import blob_errors_translated
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import InputInvalid, RecordInvalid
from tracestore.journal.chunk import Line
from tracestore.journal.scan import scan
from tracestore.journal.segment import Segment
from tracestore.layout import StoreLayout
from tracestore.maintenance.recovery import read_journals
from tracestore.record import decode_line

Found: TypeAlias = tuple[Digest, bytes, str]
"""A digest, its body and, for a person, where it was found."""


def bodies(
    layout: StoreLayout,
    blobs: BlobStore,
    damaged: Iterable[str],
    donor: Path | None,
    journals: Sequence[Path],
    wanted: Collection[Digest],
) -> Iterator[Found]:
    """Yield wanted bodies, the nearest source first; ``wanted`` may shrink meanwhile, and ends it when empty.

    ``damaged`` are paths of files in the store that were found wrong, and may yet hold a body.
    """
    with ExitStack() as stack:
        given = None if donor is None else stack.enter_context(_open_donor(donor))  # a mistyped path is told first
        segments = list(_segments(layout, journals))
        if wanted:
            yield from _in_store(blobs, damaged, wanted)
        if wanted and given is not None:
            yield from _in_donor(given, wanted)
        for path in segments:
            if wanted:
                yield from _in_segment(path, wanted)


def _in_store(blobs: BlobStore, damaged: Iterable[str], wanted: Collection[Digest]) -> Iterator[Found]:
    with blob_errors_translated():
        for path, digest, body in blobs.salvage([*damaged, QUARANTINE], wanted):
            yield digest, body, path
            if not wanted:
                return


def _in_donor(donor: BlobStore, wanted: Collection[Digest]) -> Iterator[Found]:
    for digest in sorted(wanted):
        try:
            yield digest, donor.get(digest), f"{donor!r}"
        except BlobError:
            continue  # it has none, or a damaged one: the next source may do better
    with blob_errors_translated():
        for path, digest, body in donor.salvage([QUARANTINE], wanted) if wanted else ():
            yield digest, body, f"{donor!r}: {path}"  # a backup keeps there what a damaged file took the place of


def _in_segment(path: str, wanted: Collection[Digest]) -> Iterator[Found]:
    segment = Segment.open(path)
    try:
        offset = 0
        while wanted:
            chunk = segment.read_chunk(offset)
            for line in chunk.lines:
                body = _body(line.data) if isinstance(line, Line) else None
                if body is not None and (digest := Digest.of(body)) in wanted:
                    yield digest, body, f"{path} at byte {line.offset}"
            if chunk.next_offset == offset:
                return
            offset = chunk.next_offset
    finally:
        segment.close()


def _body(line: bytes) -> bytes | None:
    if b'"body"' not in line:
        return None
    try:
        return decode_line(line).body
    except RecordInvalid:
        return None


def _open_donor(path: Path) -> BlobStore:
    """Open a store, a backup or a bare directory of blobs; what is in it is only read."""
    for place in (path / "blobs", path):
        if (place / OBJECTS).is_dir():
            with blob_errors_translated():
                return BlobStore(place, create=False)
    wanted = "a backup, a store or a directory of blobs"
    raise InputInvalid(f"donor (--from): wanted {wanted}, found no {OBJECTS}/ in {path}; check the path")


def _segments(layout: StoreLayout, journals: Sequence[Path]) -> Iterator[str]:
    """Yield the files of the store's own journal, of those it has followed, and of those that were given."""
    own = [layout.journal, layout.inserted, *map(Path, read_journals(layout))]
    with disk_errors_translated("look for journals", layout.root):
        there = [path for path in own if path.exists()]
    for journal in (*there, *journals):
        found = scan(str(journal))
        if found is None:
            wanted = "a file or a directory"
            raise InputInvalid(f"journals (--journal): wanted {wanted}, found nothing at {journal}; check the path")
        yield from (file.path for file in found)
