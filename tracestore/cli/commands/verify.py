"""`tracestore verify`: are rows, ledger and bodies what they say of one another?"""

from dataclasses import asdict
from pathlib import Path

import click

from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json, print_line, print_text

DAMAGED = 1


@click.command("verify", short_help="Check rows, ledger and bodies against one another.")
@click.option("--data", is_flag=True, help="Also decompress and hash every body.")
@common_options
@click.pass_context
def command(context: click.Context, store: Path, as_json: bool, data: bool) -> None:
    """Check rows, ledger and bodies against one another; changes nothing.

    Exits with 1 when something is damaged. A harmless finding, such as a leftover of a crash, is
    listed and does not count: the next prune removes it.
    """
    with open_for_reading(store) as opened:
        report = opened.verify(data)
    if as_json:
        print_json({"clean": report.is_clean} | asdict(report))
    else:
        for finding in report.findings:
            harmless = " (harmless)" if finding.harmless else ""
            print_line(f"{finding.kind} {finding.subject}: {finding.detail}{harmless}")
        damaged = sum(not finding.harmless for finding in report.findings)
        looked = "read and hashed" if report.with_data else "looked at, not read (--data reads them)"
        found = f"{damaged:,} damaged" if damaged else "no damage"
        print_text(f"{found}: {report.records:,} records, {report.bodies:,} bodies, {report.blobs:,} files {looked}")
    if not report.is_clean:
        context.exit(DAMAGED)
