"""What was removed since the latest snapshot: the one thing that rows and blobs cannot tell a rebuild.

A rebuild replays journal segments; without these notes every row that expired meanwhile and every
body that was evicted would rise again. A removal is noted before it happens, with how far the
journal was read then, so that a rebuild repeats it at the same place and spares what came later.

One JSON object a line in ``removals.ndjson``, appended and synced; a torn last line was never acted upon.
``since`` names the snapshot before it; a line that names another one is over.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import StoreBroken
from tracestore.journal.position import Position
from tracestore.layout import FILE_MODE

_DIGESTS = ("head_digest", "tail_digest")
_BEGINNING = b'{"since": "'


@dataclass(frozen=True, slots=True)
class Removal:
    """One step of a prune."""

    since: str
    """Name of the latest snapshot then; empty without one."""
    expired_before_ns: int | None
    evicted: Sequence[bytes]
    positions: Sequence[Position]
    """Of the segments that were read further than in that snapshot."""


def note_removal(path: Path, removal: Removal) -> None:
    """Append a removal, durably; to be called before it happens."""
    content = {
        "since": removal.since,
        "expiredBeforeNs": removal.expired_before_ns,
        "evicted": [digest.hex() for digest in removal.evicted],
        "positions": [_position_out(position) for position in removal.positions],
    }
    with disk_errors_translated("note what is to be removed", path):
        is_new = not path.exists()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(path, "ab", opener=lambda name, _: os.open(name, flags, FILE_MODE)) as file:
            # A line that a crash or a full disk cut short must not meet this one.
            file.write(b"\n" + json.dumps(content).encode() + b"\n")
        durable.sync_file(path)
        if is_new:
            durable.sync_directory(path.parent)


def read_removals(path: Path) -> list[Removal]:
    """Return the removals noted, in order; nothing without a file. StoreBroken where one cannot be read."""
    with disk_errors_translated("read what was removed", path):
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
    removals = []
    for line in lines:
        try:
            removals += [_removal(json.loads(line))] if line else []
        except (ValueError, KeyError, TypeError) as error:
            if not _BEGINNING.startswith(line[: len(_BEGINNING)]):  # else a full disk or a crash cut it short
                text = f"{path}: wanted a note of a removal, found {line[:60]!r}; remove the line"
                raise StoreBroken(text) from error
    return removals


def forget_removals(path: Path) -> None:
    """Drop every note: a snapshot was taken that holds none of what they name."""
    with disk_errors_translated("drop old notes of removals", path):
        path.unlink(missing_ok=True)


def _removal(found: Mapping[str, Any]) -> Removal:
    cutoff_ns = found["expiredBeforeNs"]
    return Removal(
        str(found["since"]),
        None if cutoff_ns is None else int(cutoff_ns),
        [bytes.fromhex(digest) for digest in found["evicted"]],
        list(_positions_in(found["positions"])),
    )


def _position_out(position: Position) -> dict[str, Any]:
    fields = {name: getattr(position, name) for name in Position.__slots__}
    return fields | {name: fields[name].hex() for name in _DIGESTS}


def _positions_in(found: Iterable[Mapping[str, Any]]) -> Iterable[Position]:
    for fields in found:
        yield Position(**{**fields, **{name: bytes.fromhex(fields[name]) for name in _DIGESTS}})
