"""Reads of bodies: one, a turn's, a conversation's, loose and packed, against what people use today."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from benchmarks.child import BASELINES
from benchmarks.harness import Figure, Options, at_least, at_most, in_child, interleave, p50, ratios, times_ms
from benchmarks.journals import bar_of, named_journals, store_of_many
from tracestore import TraceStore
from tracestore.record import text_of

What: TypeAlias = Literal["one body", "one body by record", "bodies of a turn", "bodies of a conversation"]
Body: TypeAlias = str | bytes

AGAINST = {
    "duckdb_rows": "DuckDB, bodies in rows", "sqlite_text": "SQLite, text bodies", "seed_sqlite": "the seed's design",
}  # fmt: skip
SAMPLE: dict[What, int] = {
    "one body": 200, "one body by record": 200, "bodies of a turn": 40, "bodies of a conversation": 8,
}  # fmt: skip
NOTES: dict[What, str] = {
    "one body": "files in memory; ours by its digest, which we alone check, theirs by the number of its row",
    "one body by record": "ours by record id, a query more; theirs as before",
    "bodies of a turn": "ours: all records with them; no index in DuckDB",
    "bodies of a conversation": "no index on any side",
}
MANY_SAMPLE = 200


class Side(NamedTuple):
    """One store to read from."""

    bodies: Sequence[Any]
    """What names a body at the best, in the order of the journal."""
    records: Sequence[Any]
    """What names its record."""
    body: Callable[[Any], Body | None]
    bodies_of: Callable[[str, str], Sequence[Body]]

    def read(self, what: What, key: Any) -> Iterable[Body | None]:
        """Read one body by its position, or those of a turn or a conversation by its id."""
        if what in ("one body", "one body by record"):
            return [self.body((self.bodies if what == "one body" else self.records)[key])]
        return self.bodies_of("turn_id" if what == "bodies of a turn" else "conversation_id", key)


def run(options: Options) -> list[Figure]:
    """Read from stores of the same journals; then from one that is large in records, unless a journal was given."""
    figures = []
    for name, journal in named_journals(options).items():
        figures += _compare(name, journal, options)
    for records in options.pick([1_000_000], [1_000_000, 8_000_000]) if options.journal is None else []:
        figures += _among_many(records, options)
    return figures


def _compare(corpus: str, journal: Path, options: Options) -> list[Figure]:
    stores = _collect(journal, options)
    figures = []
    with ExitStack() as stack:
        sides = {name: stack.enter_context(_opened(name, store)) for name, store in stores.items()}
        for what in get_args(What):
            sample = _sample(what, stores["ours, packed"], sides["ours, packed"])
            if not sample:
                continue  # a journal of services, say
            _check(what, sample[0], sides)
            timed = {name: partial(_median_ms, partial(side.read, what), sample) for name, side in sides.items()}
            figures += _figures(corpus, what, interleave(options.rounds, timed))
    return figures


def _collect(journal: Path, options: Options) -> dict[str, Path]:
    """Make a store of the journal by every side; our packed one has nothing loose."""
    directory = options.directory("bodies")
    stores = {name: directory / name.replace(", ", "-") for name in ("ours, loose", "ours, packed", *AGAINST)}
    in_child("collect_loose", journal, stores["ours, loose"])
    in_child("collect", journal, stores["ours, packed"])
    in_child("pack", stores["ours, packed"])
    for name in AGAINST:
        in_child("collect_by", name, journal, stores[name])
    return stores


@contextmanager
def _opened(name: str, store: Path) -> Iterator[Side]:
    if name in AGAINST:
        baseline = BASELINES[name]
        with baseline.opened(store) as reading:
            keys = baseline.body_keys(reading)
            yield Side(keys, keys, partial(baseline.body, reading), partial(baseline.bodies_of, reading))
    else:
        with TraceStore(store, read_only=True) as opened:
            query = "SELECT body_digest, record_id::VARCHAR FROM records WHERE body_digest IS NOT NULL ORDER BY seq"
            rows = opened.sql(query).rows
            digests, ids = [digest for digest, _ in rows], [record_id for _, record_id in rows]
            yield Side(digests, ids, opened.get_body, partial(_bodies_of, opened))


def _bodies_of(store: TraceStore, column: str, value: str) -> Sequence[Body]:
    if column == "turn_id":
        return [record.body for record in store.get_turn(value) if record.body is not None]
    named = f"{column} = '{value}' AND body_digest IS NOT NULL"
    rows = store.sql(f"SELECT body_digest FROM records WHERE {named} ORDER BY timestamp, seq").rows
    return [store.get_body(digest) or b"" for (digest,) in rows]


def _sample(what: What, store: Path, side: Side) -> Sequence[Any]:
    """Draw positions of bodies, or ids of turns or conversations that have some."""
    found: Sequence[Any] = range(len(side.bodies))
    if what not in ("one body", "one body by record"):
        column = "turn_id" if what == "bodies of a turn" else "conversation_id"
        with TraceStore(store, read_only=True) as opened:
            query = f"SELECT DISTINCT {column} FROM records WHERE body_digest IS NOT NULL AND {column} IS NOT NULL"
            found = sorted(value for (value,) in opened.sql(query).rows)
    return random.Random(1).sample(found, min(SAMPLE[what], len(found)))


def _check(what: What, key: Any, sides: dict[str, Side]) -> None:
    """Raise unless all sides read the same."""
    read = {name: [text_of(body) if isinstance(body, bytes) else body for body in side.read(what, key)]
            for name, side in sides.items()}  # fmt: skip
    wanted = read["ours, packed"]
    for name, found in read.items():
        if found != wanted or None in found:
            raise RuntimeError(f"{what} {key}: wanted the same from every side, found others from {name}")


def _figures(corpus: str, what: What, medians: dict[str, list[float]]) -> Iterator[Figure]:
    """Yield the milliseconds of each side, and how many times faster each of ours is."""
    for name, values in medians.items():
        yield Figure(f"{corpus}: {what}, {AGAINST.get(name, name)}, p50", "ms", values, note=NOTES[what])
    for ours in ("ours, loose", "ours, packed"):
        for name, against in AGAINST.items():
            bar = at_least(5) if what == "one body" and name == "duckdb_rows" else None
            label = f"{corpus}: {what}, {ours} over {against}"
            times = ratios(medians[name], medians[ours])
            yield Figure(label, "x", times, bar_of(corpus, bar), NOTES[what], against=against)


def _among_many(records: int, options: Options) -> list[Figure]:
    """Look bodies up in a store of many records, of which few have one."""
    with TraceStore(store_of_many(records, options), read_only=True) as store:
        found = store.sql("SELECT record_id::VARCHAR, body_digest FROM records WHERE body_digest IS NOT NULL").rows
        ids, digests = zip(*random.Random(records).sample(sorted(found), MANY_SAMPLE), strict=True)
        return [
            p50(f"{records:,} records: get_body by {name}", store.get_body, keys, options.rounds, bar)
            for name, keys, bar in (("record id", ids, at_most(2)), ("digest", digests, at_most(1)))
        ]


def _median_ms(read: Callable[[Any], object], keys: Sequence[Any]) -> float:
    return median(times_ms(read, keys))
