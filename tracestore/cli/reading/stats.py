"""`tracestore stats`: what is stored, and what it costs on disk."""

from pathlib import Path

import click

from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json, print_text
from tracestore.cli.wording import stats_text
from tracestore.views.answers import stats_members


@click.command("stats", short_help="Count what is stored, and what it costs.")
@common_options
def command(store: Path, as_json: bool) -> None:
    """Count what is stored, and what it costs on disk. Times are UTC.

    With --json, bytes are bytes: body_bytes counts a body each time it was sent, unique_body_bytes
    once, blob_bytes_on_disk whole disk blocks as du does.
    """
    with open_for_reading(store) as opened:
        stats = stats_members(opened.stats())
    if as_json:
        print_json(stats)
    else:
        print_text(stats_text(stats))
