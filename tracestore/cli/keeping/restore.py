"""`tracestore restore`: a store made again from its backup."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tracestore.cli.options import common_options
from tracestore.cli.output import print_json, print_text, progress, say
from tracestore.layout import StoreLayout
from tracestore.units import format_size_bytes

DAMAGED = 1


@click.command("restore", short_help="Make a store again from its backup.")
@click.argument("source", metavar="SOURCE")
@common_options
@click.pass_context
def command(context: click.Context, store: Path, as_json: bool, source: str) -> None:
    """Make the store of --store, a new or empty directory, from the backup at SOURCE, here or HOST:PATH.

    Copies it back, makes the database again as `tracestore rebuild` does, and checks the result as
    `tracestore verify` does; exits with 1 when something is damaged, or a body is nowhere. Cut short,
    it goes on when called again. Bodies are their owner's alone (0400): restore as the user who made
    the backup, or as root.
    """
    from tracestore.maintenance.restore import restore
    from tracestore.maintenance.rsync import Place
    from tracestore.store import TraceStore

    with progress("copying bodies") as on_progress:
        backup, copied = restore(Place.parse(source), StoreLayout(store), on_progress=on_progress)
    with (
        progress("rebuilding records") as on_progress,
        TraceStore(store, on_rebuild=lambda records: on_progress(records, 0)) as restored,
    ):
        report = restored.verify()
    if not as_json:
        for notice in restored.notices:
            say(notice)
    made = restored.rebuilt
    damaged = [finding for finding in report.findings if not finding.harmless]
    orphans = sum(finding.kind == "orphan" for finding in report.findings)
    if as_json:
        found: dict[str, Any] = {"records": report.records, "bodies": report.bodies, "orphans": orphans}
        found |= {"clean": report.is_clean, "findings": [asdict(finding) for finding in damaged]}
        found |= {"rebuilt": made and asdict(made)}
        print_json(asdict(backup) | asdict(copied) | found)
    else:
        for finding in damaged:
            say(f"{finding.kind} {finding.subject}: {finding.detail}")
        if orphans:
            say(f"{orphans:,} bodies of earlier backups are named by no record; prune takes them, or asks first")
        size = format_size_bytes(copied.size_bytes)
        print_text(f"restored {report.records:,} records and {report.bodies:,} bodies to {store}: {size} copied")
    if not report.is_clean or report.lost:
        context.exit(DAMAGED)
