"""`tracestore prune`: delete what a policy says, and give the disk back."""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options, open_for_upkeep, policy_of, require, retention_options
from tracestore.cli.output import print_json, print_text, progress
from tracestore.cli.wording import pruned_text


@click.command("prune", short_help="Delete what is past its age or over the byte cap.")
@retention_options
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@click.option("--force", is_flag=True, help="Go on where what would go does not add up; see the exit codes.")
@common_options
def command(
    store: Path, as_json: bool, max_age: str | None, max_body_bytes: str | None, dry_run: bool, force: bool
) -> None:
    """Delete what is past its age or over the byte cap, and bodies that no record names.

    At least one rule has to be given. Exits with 7 when what would go does not add up (lost
    records, missing bodies): look with `tracestore verify` first.
    """
    policy = policy_of(max_age, max_body_bytes)
    require(not policy.is_empty, "prune: wanted a rule, found none; give --max-age or --max-body-bytes")
    with open_for_upkeep(store) as opened, progress("deleting bodies") as on_progress:
        summary = opened.prune(policy, dry_run, force=force, on_progress=on_progress)
    if as_json:
        print_json(asdict(summary))
    else:
        print_text(pruned_text(summary))
