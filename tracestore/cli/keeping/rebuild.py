"""`tracestore rebuild`: the database made again from snapshot and journal."""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options
from tracestore.cli.output import print_json, print_text, progress, say


@click.command("rebuild", short_help="Make the database again from snapshot and journal.")
@common_options
def command(store: Path, as_json: bool) -> None:
    """Make the database again: from the newest snapshot, the journal since then, and the blobs.

    For a database that was deleted, or that no longer opens. One that still opens gives a snapshot
    first, so that nothing is lost. The old file is renamed, not deleted. What retention removed
    stays removed. Journals of other programs are read again where they still lie.
    """
    from tracestore.store import TraceStore

    with (
        progress("rebuilding records") as on_progress,
        TraceStore.rebuild(store, on_progress=lambda records: on_progress(records, 0)) as rebuilt,
    ):
        made = rebuilt.rebuilt
        notices = rebuilt.notices
    for notice in notices:
        say(notice)
    if made is None:  # there was nothing to make it from
        print_json({"records": 0}) if as_json else print_text("0 records: the store holds nothing yet")
    elif as_json:
        print_json(asdict(made))
    else:
        parts = f"{made.snapshot_records:,} of a snapshot, {made.replayed_records:,} replayed from journals"
        print_text(f"{made.records:,} records: {parts}")
