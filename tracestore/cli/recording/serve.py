"""`tracestore serve`: a collector that also takes OpenTelemetry and answers over HTTP."""

from pathlib import Path
from typing import Any

import click

from tracestore.cli.options import require
from tracestore.cli.recording.collecting import Collecting, collect_and_answer, collecting_options
from tracestore.layout import StoreLayout


@click.command("serve", short_help="Collect, take OpenTelemetry, and answer over HTTP.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Listen on TCP too: 127.0.0.1:4318 is where OpenTelemetry SDKs send by default. Other addresses than those of"
    " this machine alone need --token-file.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Whoever asks over TCP has to send the token in this file: Authorization: Bearer TOKEN.",
)
@click.option(
    "--read-files",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    multiple=True,
    help="Store the bodies of files below DIR that a log record names (Claude Code's body_ref); may be given several"
    " times. Default: no file is read.",
)
@collecting_options
def command(listen: str | None, token_file: Path | None, read_files: tuple[Path, ...], **options: Any) -> None:
    """Collect as `tracestore collect` does, take OpenTelemetry, and answer over HTTP, until stopped.

    \b
      tracestore serve --listen 127.0.0.1:4318
      curl http://127.0.0.1:4318/                                    what there is
      curl --unix-socket tracestore-data/socket http://localhost/    the same, for this store's owner alone

    It answers on the Unix socket STORE/socket always, on TCP with --listen. OTLP/HTTP goes to /v1/traces and /v1/logs
    (protobuf or JSON); 200 says that every span is on disk. Metrics are accepted, counted and not stored.
    What it takes goes to STORE/journal, which it collects beside every --journal. SQL over HTTP reads only.
    A disk that is full does not end it: senders get 503 and Retry-After, until there is room again.
    Ctrl-C and SIGTERM answer what was asked, collect what is there and exit with 0; a second one stops at once.
    """
    from tracestore.serve.guard import parse_listen, read_token
    from tracestore.serve.server import Listen

    require(listen is not None or token_file is None, "--token-file: wanted --listen beside it, found none")
    token = None if token_file is None else read_token(token_file)
    address = None if listen is None else Listen(*parse_listen(listen), token)
    collecting = Collecting(**options)
    own = StoreLayout(collecting.store).journal
    journals = [own, *(path for path in collecting.journals if path != own)]
    collect_and_answer(collecting, journals=journals, listen=address, read_files=read_files, is_server=True)
