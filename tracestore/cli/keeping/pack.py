"""`tracestore pack`: bodies into packs, where they take a fraction of the space."""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options, grace_option, open_for_upkeep
from tracestore.cli.output import print_json, print_text, progress
from tracestore.cli.wording import packed_text
from tracestore.units import parse_duration_ms


@click.command("pack", short_help="Compress bodies together: agent traffic to a thirtieth or less.")
@grace_option
@common_options
def command(store: Path, as_json: bool, grace: str) -> None:
    """Move bodies out of files of their own into packs, where those that resend one another share their bytes.

    A collector does this by itself once there are some thousand files. What moved is removed --grace later,
    by the next pack or prune, for a copy of the directory that may be running; an interrupted run loses
    nothing, the next goes on. A store made with `collect --no-pack` is not packed.
    """
    grace_ms = parse_duration_ms(grace)
    with open_for_upkeep(store) as opened, progress("packing bodies") as on_progress:
        report = opened.pack(grace_ms=grace_ms, on_progress=on_progress)
    if as_json:
        print_json(asdict(report))
    else:
        print_text(packed_text(report))
