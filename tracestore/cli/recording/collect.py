"""`tracestore collect`: journal lines into the store, until stopped."""

from typing import Any

import click

from tracestore.cli.recording.collecting import Collecting, collect_and_answer, collect_once, collecting_options


@click.command("collect", short_help="Move journal lines into the store, until stopped.")
@click.option("--once", is_flag=True, help="Collect what is there now, prune where there is a rule, and exit.")
@collecting_options
def command(once: bool, **options: Any) -> None:
    """Move journal lines into the store, until stopped; each batch is durable, nothing is lost or doubled.

    Without --once it runs until it is stopped, and holds the store. It answers meanwhile: the reading commands, prune,
    pack and verify, and TraceStore(path, read_only=True), ask it by themselves, at STORE/socket.
    The rotated siblings of a file are PATH.1, PATH.2 and so on; in a directory every file with .ndjson or .jsonl in its
    name is a segment.

    Makes the store where nothing is. A journal that is not there yet is waited for, if its
    directory is. A line that is no record goes to STORE/journal/rejected.ndjson with the reason.
    A snapshot of the rows is taken once per 64 MiB of journal and once a day; segments that
    tracestore wrote in STORE/journal are removed once a snapshot covers them.
    Prunes at the start and then every --prune-every, where --max-age or --max-body-bytes gives a
    rule. Looks every minute whether bodies are many enough to be packed (tracestore pack --help),
    and packs them in the background; --no-pack keeps the store as plain gzip files. Ctrl-C and
    SIGTERM finish what is there and exit with 0; a second one stops at once.

    With --json every batch, notice and prune is one JSON object on a line of stdout, its kind in
    "event"; the last one is "done".
    """
    collecting = Collecting(**options)
    if once:
        collect_once(collecting)
    else:
        collect_and_answer(collecting, journals=collecting.journals)
