"""`tracestore unpack`: bodies back into gzip files of their own."""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options, grace_option, open_for_writing
from tracestore.cli.output import print_json, print_text, progress
from tracestore.cli.wording import unpacked_text
from tracestore.units import parse_duration_ms


@click.command("unpack", short_help="Write packed bodies into gzip files again.")
@grace_option
@click.option("--no-pack", is_flag=True, help="Keep the store that way for good.")
@common_options
def command(store: Path, as_json: bool, grace: str, no_pack: bool) -> None:
    """Write every packed body into a gzip file of its own, under its hash; `zcat` reads it.

    The packs are removed --grace later, by the next unpack or prune. Without --no-pack a collector packs again.
    """
    grace_ms = parse_duration_ms(grace)
    opening = open_for_writing(store, create=False, no_pack=no_pack)
    with opening as opened, progress("unpacking bodies") as on_progress:
        report = opened.unpack(grace_ms=grace_ms, on_progress=on_progress)
    if as_json:
        print_json(asdict(report))
    else:
        print_text(unpacked_text(report))
