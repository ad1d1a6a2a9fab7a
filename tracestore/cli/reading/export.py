"""`tracestore export`: records as NDJSON, which another store can collect, or as Parquet."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Literal

import click

from tracestore.cli.options import common_options, open_for_reading, require
from tracestore.cli.output import is_terminal, print_json, progress, say
from tracestore.directory import durable
from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.errors import InputInvalid
from tracestore.layout import FILE_MODE
from tracestore.units import format_size_bytes, parse_since
from tracestore.views.printable import escape_in_json


@click.command("export", short_help="Write records as NDJSON or Parquet.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["ndjson", "parquet"]),
    default="ndjson",
    show_default=True,
    help="Journal lines, or the columns of the view records.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="A new file; default: stdout.")
@click.option("--bodies", is_flag=True, help="With the bodies; else their digests and sizes.")
@click.option("--since", metavar="WHEN", help="Only turns that ended since then: 1h, 2d, 2026-11-20, 2026-11-20T15:00.")
@click.option("--status", type=click.Choice(["ok", "error", "open"]), help="Only turns that ended so, or never.")
@click.option("--conversation", metavar="ID", help="Only the turns of this conversation.")
@common_options
def command(
    store: Path,
    as_json: bool,
    format_: Literal["ndjson", "parquet"],
    out: Path | None,
    bodies: bool,
    since: str | None,
    status: str | None,
    conversation: str | None,
) -> None:
    """Write records by time, of the turns that the options choose; without any, all records.

    \b
      tracestore export --bodies --out all.ndjson
      tracestore collect --once --journal all.ndjson --store elsewhere
      tracestore export --format parquet --since 7d --out week.parquet

    With --bodies another store that collects the NDJSON has the same records with the same bodies; a body
    that is evicted or lost says so as bodyState. A store may be written and pruned meanwhile. --json prints
    the counts.
    """
    require(out is not None or not as_json, "--json: wanted --out FILE beside it, found the export itself on stdout")
    is_shown = out is None and is_terminal(sys.stdout)
    require(not (is_shown and format_ == "parquet"), "--format parquet: wanted --out FILE or a pipe, found a terminal")
    earliest = None if since is None else parse_since(since, "--since")
    with (
        open_for_reading(store) as opened,
        opened.export(
            format_, bodies=bodies, since=earliest, status=status, conversation_id=conversation
        ) as export,
        _written(out) as file,
        nullcontext() if is_shown else progress("exporting") as show,
    ):
        for chunk in export:
            file.write(escape_in_json(chunk.decode()).encode() if is_shown else chunk)
            if show is not None:
                show(export.report.records, export.planned_records)
    report = export.report
    if as_json:
        print_json(asdict(report))
    elif out is not None:
        said = f"{report.records:,} records, {report.bodies:,} bodies, {format_size_bytes(report.bytes)} in {out}"
        say(f"{said}{_missing(report.missing_bodies)}")
    elif report.missing_bodies:
        say(_missing(report.missing_bodies).removeprefix("; "))


def _missing(bodies: int) -> str:
    return f"; {bodies:,} bodies are evicted or lost (bodyState says which)" if bodies else ""


@contextmanager
def _written(path: Path | None) -> Iterator[BinaryIO]:
    """Give stdout, or a new file that has its name once it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(path):
        raise InputInvalid(f"--out: wanted a new file, found {path}; remove it, or name another one")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}{durable.UNFINISHED}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with disk_errors_translated("write the export", path):
        try:
            with open(unfinished, "xb", opener=lambda name, _: os.open(name, flags, FILE_MODE)) as file:
                yield file
            durable.publish(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
