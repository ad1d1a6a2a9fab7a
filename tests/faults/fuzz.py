"""Fuzzed journals: every line becomes a row or a rejected line, never neither, never both.

A journal of mutated lines is collected in several looks, each of which ends anywhere in a line. The
count is independent of the code under test: lines come from splitting the file, rejected lines
from reading `rejected.ndjson` with the standard library, and what was not rejected must be a row
whose members equal what the standard library reads in that line. A second collect, and a replay
of all lines from another file, add nothing.
"""

import base64
import json
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

from blake3 import blake3

from tests.faults.mutations import KEYS, Members, mutated_lines
from tests.faults.report import Report
from tracestore import TraceStore
from tracestore.collector import Collector
from tracestore.journal.chunk import LINE_LIMIT_BYTES

LINES_A_JOURNAL = 20_000
LOOKS = 7
COLLECT_S = 300
"""Far longer than a journal takes: 2 to 30 s."""
SHOWN_BYTES = 1_000


def run(count: int, seed: int) -> Report:
    """Collect so many mutated lines, in journals of at most ``LINES_A_JOURNAL``."""
    report = Report("fuzz", seed)
    while report.tries < count and not report.violations:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
            about, lines = f"{seed}:{report.tries}", min(LINES_A_JOURNAL, count - report.tries)
            journal = Journal(Path(home) / "app.ndjson", random.Random(about), lines)
            report.violations += [f"journal {about}: {found}" for found in examine(Path(home) / "store", journal)]
            report.notes["lines rejected"] += sum(1 for _ in rejected_lines(Path(home) / "store")) // 2
        report.tries += len(journal.lines)
    return report


class Journal:
    """A file of mutated lines, and which lines an independent eye sees in it."""

    def __init__(self, path: Path, rng: random.Random, count: int) -> None:
        self.path = path
        lines = list(mutated_lines(rng, count))
        self.good = {line for line, is_good in lines if is_good}
        oversized = b'{"kind":"log","msg":"' + b"x" * LINE_LIMIT_BYTES + b'"}'
        lines.insert(rng.randrange(len(lines)), (oversized, False))
        self.content = b"".join(line + b"\n" for line, _ in lines)
        self.lines = dict(lines_in(self.content))
        """Offset of each line that is not blank, to its bytes."""
        self.cuts = sorted(rng.randrange(len(self.content)) for _ in range(LOOKS - 1))


def examine(store_path: Path, journal: Journal) -> Iterator[str]:
    """Collect a journal, and collect it again; yield every violation."""
    try:
        with TraceStore(store_path) as store:
            with at_most(COLLECT_S):
                collect(store, journal)
            yield from compare(store, journal)
        with TraceStore(store_path) as store:
            yield from collect_again(store, journal)
    except Exception as error:
        yield f"a line stopped the collector: {error!r}"


def collect(store: TraceStore, journal: Journal) -> None:
    """Write a journal and collect it look by look."""
    collector = Collector(store, str(journal.path), lambda event: None)
    with journal.path.open("wb", buffering=0) as file:
        start = 0
        for end in (*journal.cuts, len(journal.content)):
            file.write(journal.content[start:end])
            collector.drain()
            start = end
    collector.close()


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer: a line may hold a collector up for ever, too."""

    def late(*_: object) -> None:
        raise TimeoutError(f"wanted an end within {seconds} s, found none")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compare(store: TraceStore, journal: Journal) -> Iterator[str]:
    """Account for every line: yield each one that is neither row nor rejected line, or both."""
    rejected = list(rejected_lines(store.path))
    if store.stats()["rejected"] != len(rejected):
        yield f"the store counts {store.stats()['rejected']} rejected lines, its file holds {len(rejected)}"
    yield from (f"rejected as it never stood: {shown(line)}" for at, line in rejected if journal.lines.get(at) != line)
    yield from (f"a good line was rejected: {shown(line)}" for _, line in rejected if line in journal.good)
    rejected_at = {at for at, _ in rejected}
    if len(rejected_at) < len(rejected):
        yield f"{len(rejected) - len(rejected_at)} lines were rejected twice"
    rows = Counter(map(fingerprint, stored_members(store)))
    yield from (f"one record is {times} rows" for times in rows.values() if times > 1)
    explained = set()
    for at, line in journal.lines.items():
        if at in rejected_at:
            continue
        try:
            explained.add(key := fingerprint(read_members(line)))
        except ValueError as error:
            yield f"accepted, though it is no record ({error}): {shown(line)}"
            continue
        if key not in rows:
            yield f"neither a row nor a rejected line: {shown(line)}"
    if rows.keys() - explained:
        yield f"{len(rows.keys() - explained)} rows that no accepted line explains"
    yield from (f"verify: {finding}" for finding in store.verify(data=True).findings if not finding.harmless)


def collect_again(store: TraceStore, journal: Journal) -> Iterator[str]:
    """Collect the same file once more, then all of its lines from another one: yield what they added."""
    before = store.stats()
    replayed = journal.path.with_name("again.ndjson")
    replayed.write_bytes(b"\n" + journal.content)
    for path, rejected in ((journal.path, before["rejected"]), (replayed, 2 * before["rejected"])):
        collector = Collector(store, str(path), lambda event: None)
        collector.drain()
        collector.close()
        after = store.stats()
        if after["rejected"] != rejected:
            yield f"after {path.name} {after['rejected']} lines were rejected, wanted {rejected}"
        if after["records"] != before["records"]:
            yield f"collecting {path.name} added {after['records'] - before['records']} rows"


def lines_in(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each line: holes of NUL in front and one CR behind are no part of it."""
    at = 0
    for raw in content.split(b"\n")[:-1]:
        line = raw.lstrip(b"\0")
        begin = at + len(raw) - len(line)
        line = line.removesuffix(b"\r")
        if line.strip():
            yield begin, line
        at += len(raw) + 1


def rejected_lines(store_path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each rejected line of a store."""
    with (store_path / "journal" / "rejected.ndjson").open("rb") as file:
        for entry in map(json.loads, file):
            if "line" in entry:
                yield entry["offset"], entry["line"].encode()
            else:
                yield entry["offset"], base64.b64decode(entry["lineBase64"], validate=True)


def read_members(line: bytes) -> Members:
    """Read a line as the standard library does; ValueError when it is no record.

    Members that a record does not know, and its time, are read digit for digit, other numbers as doubles.
    """
    members = json.loads(line.decode(), parse_float=Decimal, parse_constant=Decimal)
    if not isinstance(members, dict) or members.get("kind") not in KEYS:
        raise ValueError("no object, or of no kind")
    known = {key: value for key, value in members.items() if key in KEYS[members["kind"]]}
    read = {key: value for key, value in members.items() if key not in known}
    known |= {key: as_double(known[key]) for key in ("attributes", "links", "durationMs") if key in known}
    body, encoding = known.pop("body", None), known.pop("bodyEncoding", None)
    if body is not None:
        body = base64.b64decode(body, validate=True) if encoding == "base64" else body.encode("utf-8", "surrogatepass")
        known["body"] = blake3(body).hexdigest()
    return with_plain_duration(read | {key: value for key, value in known.items() if value is not None})


def stored_members(store: TraceStore) -> Iterator[Members]:
    """Yield every row in the journal's shape, the digest in the place of the body."""
    for first in range(1, store.stats()["records"] + 1, 5000):
        for record in store.reader._records("WHERE seq >= ? AND seq < ?", [first, first + 5000]):
            record.body = record.body_digest
            yield with_plain_duration(record.to_json_dict())


def with_plain_duration(members: Members) -> Members:
    """Write a whole duration as an integer: 1e308 is one number, however many digits are shown of it."""
    duration = members.get("durationMs")
    whole = isinstance(duration, float) and members.get("kind") == "span-close" and duration.is_integer()
    return members | {"durationMs": int(duration)} if whole else members


def as_double(value: Any) -> Any:
    """Turn every decimal inside a value into a double."""
    if isinstance(value, dict):
        return {key: as_double(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_double(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def fingerprint(members: Members) -> bytes:
    """Return a hash that is equal for equal members."""
    return blake2b(repr(frozen(members)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def frozen(value: Any) -> Any:
    """Return a value that has one spelling: sorted names, and 1.50 as 1.5."""
    if isinstance(value, dict):
        return sorted((key, frozen(item)) for key, item in value.items())
    if isinstance(value, list):
        return [*map(frozen, value), "list"]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    _, digits, exponent = (Decimal(repr(value)) if isinstance(value, float) else Decimal(value)).as_tuple()
    text = "".join(map(str, digits))
    kept = text.rstrip("0")
    return "number", value < 0, kept, int(exponent) + len(text) - len(kept) if kept else 0


def shown(line: bytes) -> str:
    return repr(line if len(line) <= SHOWN_BYTES else line[:SHOWN_BYTES] + b"...")
