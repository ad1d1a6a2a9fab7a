"""`tracestore list`: conversations and their turns, newest first, without a look at any body."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracestore.cli.options import common_options, open_for_reading, require
from tracestore.cli.output import print_json, print_table
from tracestore.units import format_duration_ms, format_size_bytes, parse_since
from tracestore.views.answers import listed_members
from tracestore.views.values import utc_text

if TYPE_CHECKING:
    from tracestore.database.answers import Listed
    from tracestore.database.reader import Reader
    from tracestore.remote.reader import RemoteReader

DEFAULT_LIMIT = 20

_COLUMNS = ("id", "started", "took", "status", "name", "requests", "errors", "tokens", "bodies")
_RIGHT = frozenset({"took", "requests", "errors", "tokens", "bodies"})


@click.command("list", short_help="List conversations and their turns, newest first.")
@click.option("--since", metavar="WHEN", help="Only what ended since then: 1h, 2d, 2026-11-20, 2026-11-20T15:00.")
@click.option("--status", type=click.Choice(["ok", "error", "open"]), help="Only turns that ended so, or never.")
@click.option("--conversation", metavar="ID", help="Only this conversation.")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="At most so many turns."
)
@click.option("--turns", "only_turns", is_flag=True, help="Turns alone.")
@click.option("--conversations", "only_conversations", is_flag=True, help="Conversations alone; --limit counts them.")
@common_options
def command(
    store: Path,
    as_json: bool,
    since: str | None,
    status: str | None,
    conversation: str | None,
    limit: int,
    only_turns: bool,
    only_conversations: bool,
) -> None:
    """List conversations and their turns, newest first. Times are UTC.

    A conversation's figures count all of its turns; below it stand those of its turns that are
    among the newest. Tokens are input + output.
    """
    require(not (only_turns and only_conversations), "--turns and --conversations: wanted one of them, found both")
    earliest = None if since is None else parse_since(since, "--since")
    with open_for_reading(store) as opened:
        find = opened.reader.conversations if only_conversations else opened.reader.turns
        listed = find(limit, since=earliest, status=status, conversation_id=conversation)
        if not (only_turns or only_conversations):
            listed = _grouped(opened.reader, listed)
    _print(listed, as_json)


def _grouped(reader: "Reader | RemoteReader", turns: "Sequence[Listed]") -> "list[Listed]":
    """Put each conversation above its turns, in the order of their newest turns; a turn of none stands by itself."""
    ids = sorted({turn.conversation_id for turn in turns if turn.conversation_id is not None})
    conversations = {listed.id: listed for listed in reader.conversations_of(ids)}
    groups: dict[tuple[str | None, str | None], list[Listed]] = {}
    for turn in turns:
        is_alone = turn.conversation_id is None
        group = groups.setdefault((turn.conversation_id, turn.id if is_alone else None), [])
        if not group and turn.conversation_id in conversations:
            group.append(conversations[turn.conversation_id])
        group.append(turn)
    return [listed for group in groups.values() for listed in group]


def _print(listed: "Sequence[Listed]", as_json: bool) -> None:
    if as_json:
        print_json([listed_members(item) for item in listed])
    elif listed:
        has_levels = len({item.level for item in listed}) > 1
        rows = [_cells(item, has_levels) for item in listed]
        print_table(_COLUMNS, rows, _RIGHT)


def _cells(item: "Listed", has_levels: bool) -> list[str]:
    is_turn = item.level == "turn"
    return [
        f"  {item.id}" if is_turn and has_levels and item.conversation_id is not None else item.id,
        utc_text(item.started_at, timespec="seconds"),
        format_duration_ms(item.duration_ms),
        item.status,
        (item.name or "") if is_turn else f"({item.turns} turn{'' if item.turns == 1 else 's'})",
        str(item.requests),
        str(item.errors),
        "" if item.input_tokens is None else f"{item.input_tokens}+{item.output_tokens or 0}",
        "" if item.body_bytes is None else format_size_bytes(item.body_bytes),
    ]
