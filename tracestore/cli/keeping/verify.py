"""`tracestore verify`: are rows, ledger and bodies what they say of one another?"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json, print_line, print_text, progress
from tracestore.maintenance.summary import VerifyReport

DAMAGED = 1
HARMLESS_SHOWN = 10


@click.command("verify", short_help="Check rows, ledger and bodies against one another.")
@click.option("--data", is_flag=True, help="Also decompress and hash every body, and hash the newest snapshot.")
@click.option(
    "--subset",
    metavar="N/M|P%",
    help="Read and hash a part of the bodies only: 2/7 is the second of seven parts, which together are all of them;"
    " 5% is a sample, another one each time, and the report names it so that it can be read again.",
)
@common_options
@click.pass_context
def command(context: click.Context, store: Path, as_json: bool, data: bool, subset: str | None) -> None:
    """Check rows, ledger and bodies against one another; changes nothing.

    Without an option it compares names and sizes. What fails is read a second time, past the page
    cache, before it is accused. One damage is one line; `tracestore repair` mends it.

    \b
    Exit codes:
      0  no damage; a harmless finding, such as a leftover of a crash, is listed and does not count,
         and bodies that repair has marked as lost are counted in the last line
      1  damage, one line each
      2  bad usage
      3  no store at the path, or a database that does not open (tracestore rebuild)
      4  another process holds the store
      6  disk or database unavailable
    """
    with open_for_reading(store) as opened, progress("looking at bodies") as on_progress:
        report = opened.verify(data, subset=subset, on_progress=on_progress)
    if as_json:
        print_json({"clean": report.is_clean} | asdict(report))
    else:
        _print_findings(report)
        print_text(_summary(report))
    if not report.is_clean:
        context.exit(DAMAGED)


def _print_findings(report: VerifyReport) -> None:
    """Print every damage, and of each harmless kind the first few: a lost database makes an orphan of every blob."""
    harmless = Counter[str]()
    for finding in report.findings:
        harmless[finding.kind] += finding.harmless
        if harmless[finding.kind] <= HARMLESS_SHOWN:
            what = " (harmless)" if finding.harmless else ""
            print_line(f"{finding.kind} {finding.subject}: {finding.detail}{what}")
    for kind, count in harmless.items():
        if count > HARMLESS_SHOWN:
            print_line(f"{kind}: {count - HARMLESS_SHOWN:,} more (harmless; --json lists all)")


def _summary(report: VerifyReport) -> str:
    damaged = sum(not finding.harmless for finding in report.findings)
    found = f"{damaged:,} damaged" if damaged else "no damage"
    looked = "read and hashed" if report.with_data else "looked at, not read (--data reads them)"
    if report.subset is not None:
        looked = f"looked at, {report.subset} of them read and hashed"
    lost = f"; {report.lost:,} lost for good" if report.lost else ""
    return f"{found}: {report.records:,} records, {report.bodies:,} bodies, {report.blobs:,} files {looked}{lost}"
