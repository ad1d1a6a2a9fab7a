"""`tracestore backup`: the store at another place, while it is in use."""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options
from tracestore.cli.output import print_json, print_text, progress, say
from tracestore.layout import StoreLayout
from tracestore.units import format_size_bytes


@click.command("backup", short_help="Copy the store to another place, while it is in use.")
@click.argument("destination", metavar="DEST")
@click.option("--delete", is_flag=True, help="Remove bodies from DEST that the store no longer has.")
@common_options
def command(store: Path, as_json: bool, destination: str, delete: bool) -> None:
    """Copy the store to DEST, a directory here or HOST:PATH, by rsync; only what is new.

    The store may be in use: a collector goes on, and takes a snapshot for the backup. Bodies are not
    swept meanwhile. Cut short, the backup before is as it was. DEST is for one store; what retention
    removed leaves its bodies there, unless --delete.

    It says so when nobody could take a snapshot, because a program holds the store that neither
    collects nor inserts: what it had read from journals outside the store since the last snapshot is
    not in the backup then ("is_fresh": false).
    """
    from tracestore.maintenance.backup import back_up
    from tracestore.maintenance.rsync import Place

    def take_snapshot() -> None:
        from tracestore.store import TraceStore

        with TraceStore(store, create=False) as opened:
            opened.snapshot()

    target = Place.parse(destination)
    with progress("copying bodies") as on_progress:
        done = back_up(StoreLayout(store), target, take_snapshot, tell=say, delete=delete, on_progress=on_progress)
    if as_json:
        print_json(asdict(done.backup) | {"is_fresh": done.is_fresh} | asdict(done.copied))
    else:
        copied = f"{done.copied.files:,} files, {format_size_bytes(done.copied.size_bytes)}"
        print_text(f"backed up {store} to {target}: {copied} new or changed")
