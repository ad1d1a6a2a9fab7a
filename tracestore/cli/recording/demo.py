"""`tracestore demo`: an example session, recorded, collected and looked at."""

import tempfile
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracestore.cli.demo_session import DemoSession
from tracestore.cli.options import json_option, open_for_writing
from tracestore.cli.output import print_json, print_table, print_text
from tracestore.cli.wording import packed_text, stats_text
from tracestore.collector import Collector, Event
from tracestore.layout import StoreLayout
from tracestore.maintenance.summary import PackReport
from tracestore.units import format_size_bytes
from tracestore.views.answers import stats_members
from tracestore.views.values import cell_text, json_row

if TYPE_CHECKING:
    from tracestore.database.answers import QueryResult
    from tracestore.store import TraceStore

VIEWED_TURN, CRASHED_TURN = 2, 4
QUESTION = """\
SELECT model, count(*) AS requests, sum(input_tokens) AS tokens_in, sum(cache_read_tokens) AS from_cache,
    sum(output_tokens) AS tokens_out, round(quantile_cont(latency_ms, 0.95)) AS p95_ms
FROM requests GROUP BY model ORDER BY requests DESC"""


@dataclass(frozen=True, slots=True)
class _Shown:
    """Everything the demo found out."""

    session: DemoSession
    segment: Path
    journal_lines: int
    journal_bytes: int
    inserted: int
    view: str
    packed: PackReport
    stats: dict[str, Any]
    answer: "QueryResult"


@click.command("demo", short_help="Record, collect and look at an example session.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the session there; made where nothing is. Without it, a temporary directory that is removed.",
)
@json_option
def command(store: Path | None, as_json: bool) -> None:
    """Record an example session of a coding agent, collect it and look at it.

    Four turns whose requests resend a growing history, a resend that keeps the provider's cache
    warm, a tool that fails, and a process that dies in the last turn. Nothing leaves this machine.
    """
    place = nullcontext(str(store)) if store is not None else tempfile.TemporaryDirectory(prefix="tracestore-demo-")
    with place as directory, open_for_writing(Path(directory), create=True) as opened:
        shown = _run(opened)
        if as_json:
            return _print_json(shown, store)
        _print(shown, Path(directory), store)


def _run(store: "TraceStore") -> _Shown:
    """Do what an application and a collector would do, then ask."""
    journal = StoreLayout(store.path).journal
    before = set(journal.glob("*.ndjson"))
    session = DemoSession(journal, time.time_ns() // 1_000_000)
    (segment,) = set(journal.glob("*.ndjson")) - before
    lines = segment.read_bytes().splitlines(keepends=True)
    inserted = 0

    def count(event: Event) -> None:
        nonlocal inserted
        inserted = getattr(event, "total_inserted", inserted)

    with closing(Collector(store, str(journal), count)) as collector:
        collector.drain()
    view = store.easy_view(session.turn_id(VIEWED_TURN))
    packed = store.pack(grace_ms=0)
    return _Shown(
        session=session,
        segment=segment,
        journal_lines=len(lines),
        journal_bytes=sum(map(len, lines)),
        inserted=inserted,
        view=view,
        packed=packed,
        stats=stats_members(store.stats()),
        answer=store.sql(QUESTION),
    )


def _print(shown: _Shown, directory: Path, kept: Path | None) -> None:
    turn_id = shown.session.turn_id(VIEWED_TURN)
    size = format_size_bytes
    steps = (
        ("An agent's session of four turns, as its application records it (tracestore.capture):",
         f"{shown.journal_lines} lines, {size(shown.journal_bytes)}, appended to {shown.segment}"),
        ("Collected (tracestore collect): rows into DuckDB, bodies into files named by their hash.",
         f"{shown.inserted} records, each durable before the journal's offset moved"),
        (f"Turn {VIEWED_TURN}, one line per event (tracestore view {turn_id}):", shown.view),
        ("Packed, as a collector does once bodies are many (tracestore pack): compressed together.",
         packed_text(shown.packed)),
        ("What is stored, and what it costs (tracestore stats):", stats_text(shown.stats)),
        (f'A question in SQL (tracestore query "..."):\n\n{_indented(QUESTION)}', None),
    )  # fmt: skip
    for number, (title, text) in enumerate(steps, start=1):
        print_text(f"{number}. {title}\n" + (f"\n{_indented(text)}\n" if text else ""))
    print_table(
        shown.answer.columns,
        ([cell_text(value) for value in row] for row in shown.answer.rows),
        frozenset(shown.answer.columns[1:]),
    )
    print_text(f"\n{_next_steps(shown.session, directory, kept)}")


def _next_steps(session: DemoSession, directory: Path, kept: Path | None) -> str:
    if kept is None:
        return f"{directory} is removed now. To look around: tracestore demo --store ./demo-store"
    return "\n".join(
        [
            f"The session stays in {kept}. Go on with:",
            f"  tracestore list --store {kept}",
            f"  tracestore view {session.turn_id(CRASHED_TURN)} --store {kept}     where did the process die?",
            f"  tracestore query --schema --store {kept}",
            f"  tracestore collect --store {kept}     what an application appends to {kept}/journal",
        ]
    )


def _print_json(shown: _Shown, kept: Path | None) -> None:
    answer = shown.answer
    print_json(
        {
            "store": str(kept) if kept is not None else None,
            "journal_lines": shown.journal_lines,
            "journal_bytes": shown.journal_bytes,
            "inserted": shown.inserted,
            "conversation_id": shown.session.conversation_id,
            "turn_id": shown.session.turn_id(VIEWED_TURN),
            "packed": asdict(shown.packed),
            "view": shown.view.splitlines(),
            "stats": shown.stats,
            "sql": QUESTION,
            "rows": [json_row(answer.columns, answer.types, row) for row in answer.rows],
        }
    )


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())
