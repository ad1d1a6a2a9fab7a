"""`tracestore import`: what another trace store holds, as records of this one."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import click

from tracestore.cli.options import common_options, open_for_writing
from tracestore.cli.output import print_json, print_text, progress, say
from tracestore.errors import RecordInvalid
from tracestore.formats.seed_sqlite import read_seed_records
from tracestore.journal.chunk import LINE_LIMIT_BYTES
from tracestore.journal.rejects import read_rejected
from tracestore.layout import StoreLayout
from tracestore.record import decode_line, encode_line

CHUNK_BYTES = 8 * 2**20
"""Lines in memory at once; each chunk is durable before the next is read."""
SAID_REFUSALS = 10
LEFT_OUT = 1


@click.group("import", short_help="Bring in what another trace store holds.")
def command() -> None:
    """Bring in what another trace store holds. Importing again adds nothing."""


@dataclass(slots=True)
class Imported:
    """What became of every row."""

    rows: int = 0
    inserted: int = 0
    duplicates: int = 0
    rejected: int = 0
    left_out: int = 0
    """Rows too long to be a line; they stay in the file they came from."""


@command.command("seed-sqlite", short_help="The SQLite database of the store that came before.")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
@click.pass_context
def seed_sqlite(context: click.Context, file: Path, store: Path, as_json: bool) -> None:
    """Bring in the records and bodies of FILE, an SQLite trace database; it is only read.

    Makes the store where nothing is. A row that is no record is kept, verbatim, with the reason, in
    STORE/journal/rejected.ndjson. Exits with 1 when a row is too long to be kept at all.
    """
    rows = read_seed_records(file)
    first = next(rows, None)  # a FILE that cannot be read says so here, before a store is made
    rows = chain(() if first is None else (first,), rows)
    done = Imported()
    with open_for_writing(store, create=True) as opened, progress("importing rows") as on_progress:
        is_kept = _Kept(StoreLayout(store).rejected)
        for lines in _chunks(_lines(rows, done, is_kept)):
            summary = opened.insert_lines(lines)
            done.inserted += summary.inserted
            done.duplicates += summary.duplicates
            done.rejected += summary.rejected
            on_progress(done.rows, 0)
    if as_json:
        print_json(asdict(done))
    else:
        left_out = f" + {done.left_out:,} left out" if done.left_out else ""
        print_text(
            f"{done.rows:,} rows = {done.inserted:,} inserted + {done.duplicates:,} duplicates"
            f" + {done.rejected:,} rejected{left_out}"
        )
    if done.left_out:
        context.exit(LEFT_OUT)


class _Kept:
    """The lines that were set aside, now or by an earlier import: one of them is not kept twice."""

    def __init__(self, rejected: Path) -> None:
        self._rejected = rejected
        self._lines: set[bytes] | None = None

    def __call__(self, line: bytes) -> bool:
        """Tell whether a line is among them; from now on it is."""
        if self._lines is None:
            self._lines = {_name(entry.line()) for entry in read_rejected(str(self._rejected))}
        is_known = _name(line) in self._lines
        self._lines.add(_name(line))
        return is_known


def _name(line: bytes) -> bytes:
    """Return what a line is remembered by; lines themselves may be large."""
    return hashlib.sha256(line).digest()


def _lines(
    rows: Iterator[dict[str, Any]], done: Imported, is_kept: Callable[[bytes], bool]
) -> Iterator[bytes]:
    """Yield each row as a journal line, records and what is to be set aside; count what goes no further."""
    refusals = 0
    for row in rows:
        done.rows += 1
        try:
            line = encode_line(row)
        except RecordInvalid as error:
            done.left_out += 1
            say(f"row {done.rows}: {error}; left out")
            continue
        if len(line) > LINE_LIMIT_BYTES:
            done.left_out += 1
            say(f"row {done.rows}: wanted at most {LINE_LIMIT_BYTES} bytes as a line, found {len(line)}; left out")
            continue
        try:
            decode_line(line)
        except RecordInvalid as error:
            refusals += 1
            if refusals <= SAID_REFUSALS:
                say(f"row {done.rows}: {error}" + ("; further ones are not said" if refusals == SAID_REFUSALS else ""))
            if is_kept(line):
                done.duplicates += 1
                continue
        yield line


def _chunks(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size_bytes = 0
    for line in lines:
        chunk.append(line)
        size_bytes += len(line)
        if size_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk
