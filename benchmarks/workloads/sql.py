"""Five analytic questions over columns, over views and over JSON attributes, against the same on SQLite."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import date
from functools import partial
from math import prod
from statistics import median
from typing import Any, TypeAlias

from benchmarks.baselines import sqlite_columns
from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.harness import Bar, Figure, Options, at_least, interleave, ratios
from benchmarks.journals import collect
from benchmarks.questions import COLUMNS, JSON, VIEWS, Questions
from tracestore import TraceStore

REPEATS = 3
"""Answers a round is the median of."""
AGAINST = "SQLite"
KINDS: dict[str, tuple[Questions, Bar | None, str]] = {
    "columns": (COLUMNS, at_least(20), "in memory on both sides, on two cores against one; SQLite has no index for it"),
    "views": (VIEWS, None, "spans joined from their halves; SQLite gets the grouping written for the question"),
    "JSON": (JSON, at_least(5), "no column, no index on an expression; the values are read from the text"),
}

_Ask: TypeAlias = Callable[[str], Sequence[Sequence[Any]]]


def run(options: Options) -> list[Figure]:
    """Collect one journal into both, then ask both in turn."""
    records = options.pick(100_000, 1_000_000)
    directory = options.directory("sql")
    journal = ToolAgent(records=records, outcomes=True).write(directory / "journal.ndjson")
    with TraceStore(directory / "ours") as store:
        collect(store, journal)
    sqlite_columns.collect(journal, directory / "sqlite")
    with ExitStack() as stack:
        store = stack.enter_context(TraceStore(directory / "ours", read_only=True))
        lite = stack.enter_context(sqlite_columns.opened(directory / "sqlite"))

        def ours(question: str) -> Sequence[Sequence[Any]]:
            return store.sql(question).rows

        def theirs(question: str) -> Sequence[Sequence[Any]]:
            return lite.execute(question).fetchall()

        return [figure for kind in KINDS for figure in _figures(kind, ours, theirs, options.rounds)]


def _figures(kind: str, ours: _Ask, theirs: _Ask, rounds: int) -> list[Figure]:
    questions, bar, note = KINDS[kind]
    figures, gains = [], []
    for name, (our_sql, their_sql) in questions.items():
        _check_equal(f"{kind}: {name}", ours(our_sql), theirs(their_sql))
        times = interleave(rounds, {"ours": partial(_ms, ours, our_sql), AGAINST: partial(_ms, theirs, their_sql)})
        gains.append(ratios(times[AGAINST], times["ours"]))
        figures += [Figure(f"{kind}: {name}, {side}", "ms", values) for side, values in times.items()]
        figures.append(Figure(f"{kind}: {name}", "x", gains[-1], against=AGAINST))
    means = [prod(gain) ** (1 / len(gain)) for gain in zip(*gains, strict=True)]
    return [*figures, Figure(f"{kind}, geometric mean", "x", means, bar, note, against=AGAINST)]


def _ms(ask: _Ask, question: str) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask(question)
        times.append((time.perf_counter() - start) * 1000)
    return median(times)


def _check_equal(name: str, ours: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]]) -> None:
    found, wanted = _flat(ours), _flat(theirs)
    if found != wanted or not found:
        raise RuntimeError(f"{name}: wanted the answer of SQLite, {str(wanted)[:200]}, found {str(found)[:200]}")


def _flat(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Lay a list in a row out as columns, and write a day as SQLite does."""
    parts = ([part for value in row for part in (value if isinstance(value, list) else [value])] for row in rows)
    return [[str(part) if isinstance(part, date) else part for part in row] for row in parts]
