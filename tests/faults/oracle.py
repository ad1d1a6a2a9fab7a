"""What must hold after any fault, judged from the promises alone.

`check` opens the store and compares it with what `workload` says each record is; it does not ask
the code under test what should be there. A database that no longer opens may be made again
(`rebuild`), and then everything promised must be there all the same. Rules:

- a record that was acknowledged is there exactly once and equal, its body too, unless retention
  that had begun was entitled to it: by age the whole turn, by size the body alone
- what an acknowledged prune removed, or what was forgotten, does not come back
- a row that nobody acknowledged is one whose insert had begun, equal and once
- verify finds no damage, and after two prunes that delete nothing neither orphan nor leftover
- a store that has packs says so in its FORMAT
- the store takes one more record and gives it back; it can be packed, and loses nothing by it
- once the rest of the journal is collected, every line of it is a row or a rejected line, once
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from blake3 import blake3

from blobs import layout
from tests.faults import workload
from tests.faults.acks import Event
from tracestore import RetentionPolicy, StoreBroken, TraceStore, TraceStoreError
from tracestore.collector import Collector
from tracestore.journal.rejects import read_rejected
from tracestore.layout import StoreLayout
from tracestore.maintenance.rebuild import set_database_aside

KEEP_ALL = RetentionPolicy(max_age="30000d")
"""A policy that deletes nothing; its prune still sweeps."""
ORACLE = "oracle "
"""What the ids of the oracle's own records begin with."""
_COLUMNS = {
    "kind": "kind", "extension_id": "extensionId", "conversation_id": "conversationId", "turn_id": "turnId",
    "span_id": "spanId", "parent_span_id": "parentSpanId", "name": "name", "level": "level", "msg": "msg",
    "duration_ms": "durationMs", "status": "status",
}  # fmt: skip


def check(
    store_path: str,
    journal_path: str,
    seed: int,
    acks: Sequence[Event],
    *,
    rebuilt_allowed: bool = True,
    notes: list[str] | None = None,
) -> list[str]:
    """Return every violation in a sentence; empty when all promises are kept. ``notes`` gets "rebuilt"."""
    promised = Promised(seed, acks)
    try:
        return _listed(_examine(store_path, journal_path, promised))
    except StoreBroken as broken:
        if not rebuilt_allowed:
            return [f"the store does not open: {broken}"]
        if notes is not None:
            notes.append("rebuilt")
        _rebuild(store_path)
        return _listed(_examine(store_path, journal_path, promised))


@dataclass
class Promised:
    """What the events of a run promise, by number of record."""

    seed: int
    events: Sequence[Event]
    inserted: set[int] = field(default_factory=set)
    collected: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    """Everything that was ever handed over, to the store or to the journal."""
    gone: set[int] = field(default_factory=set)
    """Acknowledged before a prune by age that was acknowledged too, and old: not there."""
    going: set[int] = field(default_factory=set)
    """Old, and such a prune had begun: there or not."""
    leaving: set[int] = field(default_factory=set)
    """Old turns that were acknowledged as a whole when such a prune began."""
    may_evict: bool = False
    _pruned: set[int] | None = None
    """While a prune by age runs: what it has to delete. What arrives meanwhile it may or may not."""

    def __post_init__(self) -> None:
        for event in self.events:
            self._take(event)

    def _take(self, event: Event) -> None:
        numbers = set(range(event["first"], event["last"] + 1)) if "first" in event else set()
        match event["op"]:
            case "insert-begins" | "append-begins":
                self.begun |= numbers
                self.going |= _old(numbers) if self._pruned is not None else set()
            case "inserted":
                self.inserted |= numbers
            case "collected":
                self.collected |= {number for number in numbers if not workload.is_rejected(number)}
            case "prune-begins":
                self.may_evict |= event["cap"] is not None
                if event["cutoff_ms"] is not None:
                    begun_before = workload.turns_of(self.going)  # an earlier prune may have taken their first half
                    self.going |= _old(self.begun)
                    self._pruned = _old(self.acknowledged)
                    turns = workload.turns_of(self._pruned) - begun_before
                    self.leaving |= {turn for turn in turns if self._is_acknowledged(turn)}
            case "pruned" if self._pruned is not None and event["cutoff_ms"] is not None:
                self.gone |= self._pruned
                self._pruned = None
            case "prune-full":  # it went before what waited in the journal, which then did not fit: the next takes that
                self.leaving.clear()
            case "forget-begins" | "forgotten" as op:
                turn = set(workload.numbers_of(event["turn"]))
                self.going |= turn & self.begun  # what waits in a journal comes afterwards
                self.leaving |= {event["turn"]} if self._is_acknowledged(event["turn"]) else set()
                self.gone |= turn & self.acknowledged if op == "forgotten" else set()
            case "opened":
                self._pruned = None

    @property
    def acknowledged(self) -> set[int]:
        """Numbers of records that must be durable."""
        return self.inserted | self.collected

    def _is_acknowledged(self, turn: int) -> bool:
        return self.acknowledged.issuperset(workload.numbers_of(turn))


def _old(numbers: Iterable[int]) -> set[int]:
    return {number for number in numbers if workload.is_old(number)}


def _listed(violations: Iterator[str]) -> list[str]:
    """Return all violations; an error of the store after the first one is one more."""
    found: list[str] = []
    try:
        for violation in violations:
            found.append(violation)
    except TraceStoreError as error:
        if not found and isinstance(error, StoreBroken):
            raise
        found.append(f"{type(error).__name__}: {error}")
    return found


def _examine(store_path: str, journal_path: str, promised: Promised) -> Iterator[str]:
    ticks = workload.clock(1_000_000)
    with TraceStore(store_path, now_ns=lambda: next(ticks)) as store:
        yield from format_broken(Path(store_path) / "blobs")
        yield from _rows_against_promises(store, promised)
        yield from _damage(store, "at first", harmless_too=False)
        _collect(store, journal_path)
        yield from _lines_against_journal(store, store_path, journal_path, promised)
        yield from _takes_one_more(store)
        for _ in range(2):
            store.prune(KEEP_ALL)
        yield from _damage(store, "after two prunes", harmless_too=True)
        with workload.scaled_down():
            store.pack(grace_ms=workload.AT_ONCE_MS)
        yield from _damage(store, "after packing", harmless_too=True)
        yield from _rows_against_promises(store, promised)


def format_broken(blobs: Path) -> Iterator[str]:
    """A store with packs must be refused by a release that cannot read them."""
    if any(blobs.glob("packs/*.pack")) and layout.PACKS_REQUIRED.encode() not in (blobs / "FORMAT").read_bytes():
        yield "there are packs, and FORMAT does not say so"


def _rebuild(store_path: str) -> None:
    """Set a damaged database aside; a store without one makes it again when it is opened."""
    set_database_aside(StoreLayout(Path(store_path)))


def _rows_against_promises(store: TraceStore, promised: Promised) -> Iterator[str]:
    """Compare all rows with what was acknowledged."""
    rows = [row for row in _records(store) if not row["id"].startswith(ORACLE)]
    numbers = [_number(row["id"], promised.seed) for row in rows]
    for number, times in Counter(numbers).items():
        if number is None:
            yield "a row has an id that nobody gave"
        elif times > 1:
            yield f"record {number} is there {times} times"
    there = {number for number in numbers if number is not None}
    for number in sorted(promised.acknowledged - promised.going - there):
        yield f"record {number} was acknowledged and is not there"
    for number in sorted(promised.gone & there):
        yield f"record {number} was expired and is there"
    for number in sorted(there - promised.begun):
        yield f"record {number} is there and was never sent"
    yield from _halves(there, promised)
    for number, row in zip(numbers, rows, strict=True):
        if number is not None:
            yield from _differences(number, row, promised)


def _halves(there: set[int], promised: Promised) -> Iterator[str]:
    """A turn leaves as a whole."""
    for turn in sorted(promised.leaving):
        left = there.intersection(workload.numbers_of(turn))
        if 0 < len(left) < workload.TURN:
            yield f"half of turn {turn} is there: {sorted(left)}"


def _differences(number: int, row: dict[str, Any], promised: Promised) -> Iterator[str]:
    wanted = workload.record(promised.seed, number)
    content = workload.body(promised.seed, number)
    for column, key in _COLUMNS.items():
        if row[column] != wanted.get(key):
            yield f"record {number}: {key} is {row[column]!r}, sent {wanted.get(key)!r}"
    if row["timestamp_ns"] != round(wanted["timestamp"] * 4) * 250_000:
        yield f"record {number}: timestamp is {row['timestamp_ns']} ns, sent {wanted['timestamp']} ms"
    extra = {key: wanted[key] for key in ("unknownKey",) if key in wanted} or None
    for column, sent in (("attributes", wanted["attributes"]), ("links", wanted.get("links")), ("extra", extra)):
        if _json(row[column]) != sent:
            yield f"record {number}: {column} is {row[column]!r}, sent {sent!r}"
    if row["body_digest"] != (None if content is None else blake3(content).hexdigest()):
        yield f"record {number}: names the body {row['body_digest']}, another was sent"
    elif content is None or row["body"] == content:
        return
    elif row["body"] is not None:
        yield f"record {number}: another body than was sent came back"
    elif not (row["body_state"] == "evicted" and promised.may_evict):
        yield f"record {number}: its body is {row['body_state']}"


def _lines_against_journal(
    store: TraceStore, store_path: str, journal_path: str, promised: Promised
) -> Iterator[str]:
    """Every line of the journal is a row or a rejected line, once."""
    there = Counter(_number(row["id"], promised.seed) for row in _records(store, with_bodies=False))
    for number in sorted(_valid_lines(journal_path, promised.seed)):
        if there[number] != 1 and not (there[number] == 0 and number in promised.going):
            yield f"line {number} of the journal is there {there[number]} times as a row"
    wanted = Counter(content for content in _lines(journal_path) if _line_number(content, promised.seed) is None)
    rejected = Path(store_path) / "journal" / "rejected.ndjson"
    found = Counter(entry.line() for entry in read_rejected(str(rejected)))
    if wanted != found:
        missing, surplus = sum((wanted - found).values()), sum((found - wanted).values())
        yield f"rejected lines: {missing} are missing, {surplus} too many"


def _takes_one_more(store: TraceStore) -> Iterator[str]:
    ids = {row["id"] for row in _records(store, with_bodies=False)}
    own_id = next(f"{ORACLE}{n}" for n in count() if f"{ORACLE}{n}" not in ids)
    about = {"kind": "log", "id": own_id, "timestamp": workload.BASE_MS, "extensionId": "oracle", "level": "info"}
    store.insert_records([about | {"msg": "one more", "body": f"the body of {own_id}"}])
    if [row["body"] for row in _records(store) if row["id"] == own_id] != [f"the body of {own_id}".encode()]:
        yield "a record inserted afterwards cannot be read back"


def _damage(store: TraceStore, when: str, *, harmless_too: bool) -> Iterator[str]:
    for finding in store.verify(data=True).findings:
        if harmless_too or not finding.harmless:
            yield f"verify {when}: {finding.kind} {finding.subject}: {finding.detail}"


def _collect(store: TraceStore, journal_path: str) -> None:
    workload.mend_journal(journal_path)
    collector = Collector(store, journal_path, lambda event: None)
    collector.drain()
    collector.close()


def _records(store: TraceStore, *, with_bodies: bool = True) -> Iterator[dict[str, Any]]:
    """Yield every row, with the bytes of its body; each different body is read once."""
    bodies: dict[str, bytes | None] = {}
    states = dict(store.sql("SELECT digest, state FROM bodies").rows)
    columns = ", ".join(_COLUMNS)
    result = store.sql(
        f"SELECT producer_id AS id, epoch_ns(timestamp) AS timestamp_ns, {columns}, attributes, links, extra,"
        " body_digest FROM records ORDER BY seq"
    )
    for row in result.dicts():
        digest = row["body_digest"]
        if digest is not None and with_bodies:
            if digest not in bodies:
                bodies[digest] = _body(store, digest, states)
            row |= {"body": bodies[digest], "body_state": states.get(digest)}
        yield row


def _body(store: TraceStore, digest: str, states: dict[str, str]) -> bytes | None:
    try:
        return store.get_body(digest)
    except StoreBroken:  # damaged is its state, whatever the ledger says
        states[digest] = "damaged"
        return None


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _number(producer_id: str | None, seed: int) -> int | None:
    name, _, number = (producer_id or "").rpartition("-")
    return int(number) if name == str(seed) and number.isdecimal() else None


def _lines(journal_path: str) -> list[bytes]:
    """Return the lines of a journal, without NUL bytes in front: a power cut may leave them for a tail."""
    path = Path(journal_path)
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [content for line in lines if (content := line.lstrip(b"\0")).strip()]


def _valid_lines(journal_path: str, seed: int) -> set[int]:
    numbers = (_line_number(content, seed) for content in _lines(journal_path))
    return {number for number in numbers if number is not None}


def _line_number(content: bytes, seed: int) -> int | None:
    """Return the number of a journal line that is a record, byte for byte; None for any other line."""
    try:
        number = _number(json.loads(content).get("id"), seed)
    except (ValueError, AttributeError):
        return None
    return number if number is not None and content + b"\n" == workload.line(seed, number) else None


def describe(violations: Iterable[str], limit: int = 5) -> str:
    """Return the first violations as text, and how many more there are."""
    listed = list(violations)
    more = [f"and {len(listed) - limit} more"] if len(listed) > limit else []
    return "; ".join([*listed[:limit], *more])
