"""`tracestore view`: a turn as a text tree, one line per event."""

from pathlib import Path

import click

from tracestore.cli.options import common_options, open_for_reading
from tracestore.cli.output import print_json, print_text
from tracestore.errors import NotFound


@click.command("view", short_help="Show a turn as a tree, one line per event.")
@click.argument("turn")
@common_options
def command(turn: str, store: Path, as_json: bool) -> None:
    """Show the turn with the id TURN as a tree, one line per event.

    \b
      - step 1.8s                        a span and how long it took
        - tool.call 400ms ERR {n=2}      it failed; at most three attributes
          - [warn] slow [body 2.1k]      a log, and what its body weighs
        - retry (open)                   never closed
    """
    with open_for_reading(store) as opened:
        text = opened.easy_view(turn)
        if not text and not opened.reader.turn(turn):
            raise NotFound(f"{store}: no turn {turn!r:.80}; tracestore list shows those there are")
    if as_json:
        print_json({"turn_id": turn, "lines": text.splitlines()})
    elif text:
        print_text(text)
