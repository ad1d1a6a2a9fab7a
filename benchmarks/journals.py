"""Journals, made or given, and the stepping of a drain; shared by the workloads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.corpora.coding_agent import FULL_CONVERSATIONS, SMALL_CONVERSATIONS, CodingAgent
from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.harness import Bar, Options, settle
from tracestore import TraceStore, ingest
from tracestore.collector import Collector
from tracestore.ingest import Drained

STATED = {"tool agent", "coding agent", "tau-airline", "agent-week"}
"""The journals that bars are stated for."""
FEW_BODIES = 0.01
"""Share of turns with bodies in a store that is large in records."""


def journal_with_bodies(options: Options) -> Path:
    """Return the journal that was given, or make one of a tool agent with all its bodies."""
    if options.journal is not None:
        return options.journal
    records = options.pick(30_000, 130_000)
    return ToolAgent(records=records, body_share=1.0).write(options.directory("journal") / "journal.ndjson")


def agent_journal(options: Options) -> Path:
    """Return the journal that was given, or make one of a coding agent's week."""
    if options.journal is not None:
        return options.journal
    week = CodingAgent(conversations=options.pick(SMALL_CONVERSATIONS, FULL_CONVERSATIONS))
    return week.write(options.directory("week") / "agent-week.ndjson")


def named_journals(options: Options) -> dict[str, Path]:
    """Return the journals to compare on, by name: the given one, else a tool agent's, in full a coding agent's too."""
    if options.journal is not None:
        return {options.journal.stem: options.journal}
    found = {"tool agent": journal_with_bodies(options)}
    return found if options.scale == "small" else found | {"coding agent": agent_journal(options)}


def bar_of(journal: str, bar: Bar | None) -> Bar | None:
    """Return a bar for a journal that it is stated for."""
    return bar if journal in STATED else None


def store_of_many(records: int, options: Options) -> Path:
    """Collect so many records of a tool agent, few of them with a body, into a store; returns its directory."""
    directory = options.directory("many")
    journal = ToolAgent(records=records, body_share=FEW_BODIES).write(directory / "journal.ndjson")
    with TraceStore(directory / "store") as store:
        collect(store, journal)
    settle()
    return directory / "store"


def collect(store: TraceStore, journal: Path) -> None:
    """Collect a journal to its end."""
    collector = Collector(store, str(journal), lambda event: None)
    try:
        collector.drain()
    finally:
        collector.close()


def batches(store: TraceStore, journal: Path) -> Iterator[Drained]:
    """Collect a journal one batch a step."""
    follower = store.follow_journal(journal)
    try:
        for unread in follower.poll().unread:
            yield from store.drain(unread, follower.commit)
    finally:
        follower.close()


@contextmanager
def batch_lines(count: int) -> Iterator[None]:
    """Make the drain take so many lines a batch, as it does when it keeps up with a live application."""
    before, ingest.BATCH_LINES = ingest.BATCH_LINES, count
    try:
        yield
    finally:
        ingest.BATCH_LINES = before
