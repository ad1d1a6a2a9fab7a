"""`tracestore repair`: mend what verify finds."""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options, open_for_reading, open_for_writing
from tracestore.cli.output import print_json, print_line, print_table, print_text, progress
from tracestore.maintenance.summary import RepairReport

DAMAGED = 1


@click.command("repair", short_help="Mend what verify finds; a dry run unless told.")
@click.option("--apply", is_flag=True, help="Do it. Without it the same is worked out, and nothing is touched.")
@click.option(
    "--from",
    "donor",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take bodies from here: a backup, another store, or a copy of its blobs/.",
)
@click.option(
    "--journal",
    "journals",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Look for bodies in this journal too; may be given often. The store's own are read anyway.",
)
@common_options
@click.pass_context
def command(
    context: click.Context, store: Path, as_json: bool, apply: bool, donor: Path | None, journals: tuple[Path, ...]
) -> None:
    """Mend what verify finds. A dry run unless --apply is given; it reads every body.

    A missing or damaged body is looked for in damaged files and quarantine, in --from, and in
    journals; it is taken only where its hash is right. What cannot be had is marked as lost, and
    its record stays. Damaged files, strangers and links go to STORE/blobs/quarantine: nothing is
    deleted. STORE/repairs holds a log of every action, written before it is done. A body that is
    lost is looked for again each time.

    \b
    Exit codes:
      0  nothing is damaged (any more)
      1  bodies are lost for good, damage remains, or it was a dry run with something to do
      2  bad usage
      3  no store at the path, or a database that does not open (tracestore rebuild)
      4  another process holds the store
      6  disk or database unavailable
    """
    opening = open_for_writing(store, create=False) if apply else open_for_reading(store)
    with opening as opened, progress("reading bodies") as on_progress:
        report = opened.repair(apply, donor=donor, journals=journals, on_progress=on_progress)
    if as_json:
        print_json({"whole": report.is_whole} | asdict(report))
    else:
        _print(report)
    if not report.is_whole or (report.mends and not report.applied):
        context.exit(DAMAGED)


def _print(report: RepairReport) -> None:
    if report.mends:
        rows = [(mend.action, mend.subject, mend.detail) for mend in report.mends]
        print_table(("action", "what", "how"), rows)
    for finding in report.remaining:
        print_line(f"remains: {finding.kind} {finding.subject}: {finding.detail}")
    done = f"{len(report.mends):,} done" if report.applied else f"{len(report.mends):,} to do (--apply does it)"
    left = [f"bodies lost for good: {report.lost:,}"] if report.lost else []
    left += [f"damage that remains: {len(report.remaining):,}"] if report.remaining else []
    if not report.mends and not left:
        print_text("nothing is damaged")
        return
    print_text("; ".join([done if report.mends else "nothing to do", *left]))
    if report.log is not None:
        print_line(f"undo log: {report.log}")
