"""What leaves a store as NDJSON comes back into another as the same records; Parquet has the same rows."""

import itertools
import json
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.corpus import KINDS
from blobs import Digest
from tracestore import InputInvalid, RetentionPolicy, TraceStore
from tracestore.database import pages
from tracestore.export import export
from tracestore.maintenance.retention import GRACE_MS

REPOSITORY = Path(__file__).resolve().parent.parent
NOW_MS = 1_772_413_967_075
BASE = {"kind": "log", "timestamp": NOW_MS, "extensionId": "app", "turnId": "t", "level": "info", "msg": "hello"}
CLOSE = {"kind": "span-close", "timestamp": NOW_MS, "extensionId": "app", "spanId": "s", "name": "n", "status": "ok"}
IDENTITIES = "SELECT record_id, epoch_ns(timestamp), body_digest, body_size_bytes FROM records ORDER BY ALL"


def exported(store, format="ndjson", **options):
    with store.export(format, **options) as export:
        return b"".join(export)


def lines_of(data):
    return [json.loads(line) for line in data.splitlines()]


def collected_again(data):
    """Return the store that has collected an export."""
    store = TraceStore.memory()
    assert store.insert_lines(data.splitlines()).rejected == 0
    return store


def whole(store):
    """Return everything that a store says of its records, in their order."""
    rows = store.sql("SELECT record_id FROM records ORDER BY timestamp, seq").rows
    return [store.get_record(str(record_id)) for (record_id,) in rows]


def rows_of(data, path, query="SELECT * FROM exported"):
    path.write_bytes(data)
    with duckdb.connect() as connection:
        return connection.execute(query.replace("exported", f"read_parquet('{path}')")).fetchall()


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_brings_the_same_records_and_bodies_into_another_store(kind, memory_store):
    journal = [line.encode() for line in KINDS[kind].make(150, 3).lines()]
    memory_store.insert_lines(journal)
    with collected_again(exported(memory_store, bodies=True)) as again:
        assert whole(again) == whole(memory_store)
        assert again.sql(IDENTITIES).rows == memory_store.sql(IDENTITIES).rows
    assert len(journal) == 150


AWKWARD = [
    BASE | {"new": {"nested": [{"deeper": None}, True, "x"]}, "other": []},
    BASE | {"new": 123456789012345678901234567890, "other": [-(10**40), {"a": 2**64}], "none": None},
    BASE | {"new": Decimal("0.1234567890123456789012345678901234567890"), "other": [Decimal("1E+400")]},
    BASE | {"attributes": {"big": 2**53 + 1, "biggest": 10**30, "float": 1.0, "small": 1e-300, "none": None}},
    BASE | {"msg": "\ud83d alone", "attributes": {"\udfff": "\ud800"}, "turnId": "\ud800", "id": "own \ud800"},
    BASE | {"msg": "\ud800", "timestamp": Decimal("1772413967075.123456"), "new": Decimal("1.50")},
    BASE | {"timestamp": Decimal("1772413967075.0000000001")},
    BASE | {"timestamp": 0, "msg": "", "attributes": {}, "links": []},
    BASE | {"links": [{"spanId": "s", "turnId": "t", "reason": "caused", "new": None}], "id": "own"},
    BASE | {"durationMs": 5.0, "status": "a log has none"},
    BASE | {"bodyDigest": "own", "bodyState": "own", "body": "beside keys of the export"},
    BASE | {"body": ""},
    BASE | {"body": "\ufeffGrüße\0\u2028\n\ud800"},
    BASE | {"body": b"\xff\xfe\x00"},
    BASE | {"body": b"\xed\xa0\x80\xed\xb0\x80"},  # as text, two surrogates would become one character
    CLOSE | {"durationMs": 100},
    CLOSE | {"durationMs": 100.0, "body": "with a body"},
    CLOSE | {"durationMs": 100.0, "id": "own", "body": "with an id"},
    CLOSE | {"durationMs": 0.0},
    CLOSE | {"durationMs": -0.0},
    CLOSE | {"durationMs": 1e300},
    CLOSE | {"durationMs": 2**53 + 1},
    CLOSE | {"durationMs": 0.1, "msg": "\ud800"},
]


@pytest.mark.parametrize("number", range(len(AWKWARD)))
def test_an_awkward_record_comes_back_as_it_was(number, memory_store):
    memory_store.insert_records([AWKWARD[number]])
    data = exported(memory_store, bodies=True)
    with collected_again(data) as again:
        assert whole(again) == whole(memory_store)
        assert again.sql(IDENTITIES).rows == memory_store.sql(IDENTITIES).rows
    assert memory_store.insert_lines(data.splitlines()).duplicates == 1, "the store itself knows the line again"


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec=None, exclude_categories=[]), max_size=8)
MEMBERS = st.fixed_dictionaries(
    {"timestamp": st.integers(NOW_MS, NOW_MS + 2) | st.decimals(NOW_MS, NOW_MS + 1, places=7)},
    optional={
        "attributes": st.dictionaries(TEXTS, SCALARS | TEXTS, max_size=3),
        "body": st.binary(max_size=12) | TEXTS,
        "id": TEXTS,
        "turnId": TEXTS,
        "new": st.recursive(SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=2), max_leaves=4),
    },
)
DURATIONS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MEMBERS, DURATIONS | st.none()), min_size=1, max_size=6))
def test_whatever_a_store_takes_comes_back(found):
    records = [
        (BASE if duration is None else CLOSE | {"durationMs": duration}) | members | {"place": place}
        for place, (members, duration) in enumerate(found)
    ]
    records = list({record.get("id", place): record for place, record in enumerate(records)}.values())
    with TraceStore.memory() as store:
        store.insert_records(records)
        with collected_again(exported(store, bodies=True)) as again:
            assert again.sql(IDENTITIES).rows == store.sql(IDENTITIES).rows
            assert whole(again) == whole(store)


def test_a_text_whose_line_would_be_too_long_goes_as_base64(memory_store):
    body = b"\0" * (6 * 2**20)
    memory_store.insert_records([BASE | {"body": body}])
    (line,) = lines_of(exported(memory_store, bodies=True))
    assert line["bodyEncoding"] == "base64"
    with collected_again(exported(memory_store, bodies=True)) as again:
        assert again.get_body(Digest.of(body).hex()) == body


def test_records_of_one_time_stay_in_the_order_of_their_insertion(memory_store, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_ROWS", 7)
    records = [BASE | {"msg": f"message {number}"} for number in range(100)]
    memory_store.insert_records([*records[50:], BASE | {"timestamp": NOW_MS - 1, "msg": "first"}, *records[:50]])
    found = [line["msg"] for line in lines_of(exported(memory_store))]
    assert found == ["first", *(f"message {number}" for number in [*range(50, 100), *range(50)])]


def test_without_bodies_a_line_names_digest_and_size(memory_store):
    memory_store.insert_records([BASE | {"body": "Grüße"}, BASE | {"msg": "none"}])
    with memory_store.export() as export:
        named, bare = lines_of(b"".join(export))
    assert named == BASE | {"bodyDigest": Digest.of("Grüße".encode()).hex(), "bodySizeBytes": 7}
    assert bare == BASE | {"msg": "none"}
    assert (export.report.records, export.report.bodies, export.report.missing_bodies) == (2, 0, 0)


def test_bodies_that_are_gone_are_counted_and_say_why(open_store, clock, make):
    store = open_store()
    old, lost, kept = make.body(1), make.body(2), "kept"
    store.insert_records([BASE | {"body": old}])
    clock.forward(days=1)
    store.prune(RetentionPolicy(max_total_body_bytes=0))
    store.insert_records([BASE | {"body": lost}, BASE | {"body": kept}, BASE | {"msg": "none"}])
    store._blobs.delete([Digest.of(lost.encode())])
    with store.export(bodies=True) as export:
        data = b"".join(export)
    found = lines_of(data)
    assert [line.get("bodyState") for line in found] == ["evicted", "lost", None, None]
    assert [line.get("bodySizeBytes") for line in found] == [len(old), len(lost), None, None]
    report = export.report
    assert (report.records, report.bodies, report.missing_bodies, report.bytes) == (4, 1, 2, len(data))
    rows = rows_of(exported(store, "parquet", bodies=True), store.path / "x", "SELECT body_state, body FROM exported")
    assert rows == [("evicted", None), ("lost", None), ("present", b"kept"), (None, None)]


def test_turns_are_chosen_as_in_a_list_and_without_a_rule_every_record_comes(memory_store, make):
    memory_store.insert_records(
        [
            *make.turn("early", NOW_MS),
            *make.turn("late", NOW_MS + 60_000),
            make.closed("s-bad", NOW_MS + 70_000, turnId="bad", conversationId="c-late", status="error"),
            make.log(NOW_MS + 80_000, "no turn"),
        ]
    )
    at_late = memory_store.sql("SELECT ended_at FROM turns WHERE turn_id = 'late'").fetchone()[0]
    choices = {
        "early late bad None": {},
        "late bad": {"since": at_late},
        "bad": {"status": "error"},
        "late": {"status": "ok", "conversation_id": "c-late"},
        "late bad ": {"conversation_id": "c-late"},
        "": {"conversation_id": "unknown"},
    }
    for expected, rules in choices.items():
        with memory_store.export(**rules) as export:
            found = [str(line.get("turnId")) for line in lines_of(b"".join(export))]
        assert list(dict.fromkeys(found)) == expected.split(), rules
        assert export.report.records == export.planned_records == len(found)


def test_parquet_has_the_rows_and_types_of_the_view_in_order_and_bodies_when_asked(memory_store, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_ROWS", 40)
    memory_store.insert_lines([line.encode() for line in KINDS["tool-agent"].make(150, 3).lines()])
    columns = {column: type_ for view, column, type_ in memory_store.schema() if view == "records"}
    expected = memory_store.sql("SELECT * FROM records ORDER BY timestamp, seq").rows
    data, path = exported(memory_store, "parquet"), tmp_path / "x.parquet"
    assert rows_of(data, path) == expected
    described = rows_of(data, path, "DESCRIBE SELECT * FROM exported")
    assert {name: type_ for name, type_, *_ in described} == columns
    with memory_store.export("parquet", bodies=True) as export:
        rows = rows_of(b"".join(export), path)
    assert [row[:-2] for row in rows] == expected
    bodies = [body for *_, body, state in rows if state == "present"]
    assert [Digest.of(body).hex() for body in bodies] == [row[-2] for row in expected if row[-2] is not None]
    assert export.report.bodies == len(bodies) > 0


@pytest.mark.parametrize("bodies", [False, True])
def test_an_export_of_nothing_is_a_whole_file(memory_store, tmp_path, bodies):
    assert exported(memory_store, bodies=bodies) == b""
    data = exported(memory_store, "parquet", bodies=bodies)
    columns = rows_of(data, tmp_path / "x", "DESCRIBE SELECT * FROM exported")
    assert ("body" in [name for name, *_ in columns]) == bodies
    assert rows_of(data, tmp_path / "x") == []


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_what_is_stored_meanwhile_is_left_out_and_compaction_between_pages_changes_nothing(
    open_store, make, monkeypatch, tmp_path, format
):
    monkeypatch.setattr(pages, "PAGE_ROWS", 10)
    monkeypatch.setattr(export, "CHUNK_BYTES", 1)
    store = open_store()
    store.insert_records([make.log(NOW_MS + n, f"line {n}") for n in range(60)])
    expected = [str(row[0]) for row in store.sql("SELECT msg FROM records ORDER BY timestamp").rows]
    method = {"ndjson": "stored", "parquet": "tables"}[format]
    original, given = getattr(pages.Pages, method), []

    def meanwhile(self):
        for page in original(self):
            yield page
            given.append(page)
            at_ms = NOW_MS + 10 * len(given)
            store.insert_records([make.log(at_ms + 5, f"new {at_ms}"), make.log(NOW_MS - len(given), "earlier")])
            store.compact()

    monkeypatch.setattr(pages.Pages, method, meanwhile)
    data = exported(store, format)
    assert len(given) == 6
    if format == "ndjson":
        assert [line["msg"] for line in lines_of(data)] == expected
    else:
        assert [row[0] for row in rows_of(data, tmp_path / "x", "SELECT msg FROM exported")] == expected


def test_no_transaction_is_open_between_two_chunks(open_store, make, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_ROWS", 10)
    monkeypatch.setattr(export, "CHUNK_BYTES", 1)
    store = open_store()
    store.insert_records([make.log(NOW_MS + n, f"line {n}") for n in range(60)])
    with store.export() as chunks:
        for _ in chunks:
            assert not store._database._readers
    with store.export("parquet") as chunks:
        next(chunks)
    assert not store._database._readers


def test_what_is_pruned_meanwhile_is_left_out_and_not_called_lost(open_store, clock, monkeypatch, make):
    monkeypatch.setattr(export, "CHUNK_BYTES", 1)
    store = open_store()
    store.insert_records([make.log(NOW_MS + n, f"line {n}", body=make.body(n)) for n in range(6)])
    store.pack(grace_ms=GRACE_MS)
    monkeypatch.setattr(export, "PORTION_BYTES", 1)
    chunks = store.export(bodies=True)
    found = [next(chunks)]
    clock.forward(days=3)
    store.insert_records([make.log(clock.now_ms, "fresh", body="fresh")])
    store.prune(RetentionPolicy(max_age="1d"), force=True)
    found += chunks
    assert [line["msg"] for line in lines_of(b"".join(found))] == ["line 0"]
    assert (chunks.report.records, chunks.report.missing_bodies) == (1, 0)


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_an_export_that_is_closed_early_leaves_no_thread_behind(store, make, format):
    store.insert_records([make.log(NOW_MS + n, make.body(n, 3000)) for n in range(500)])
    before = threading.active_count()
    with store.export(format) as chunks:
        next(chunks)
    chunks.close()
    assert threading.active_count() == before
    assert next(chunks, None) is None


def test_an_error_while_pages_are_read_is_the_error_of_the_export(memory_store, monkeypatch):
    memory_store.insert_records([BASE])

    def fail(*arguments):
        raise InputInvalid("as it was raised")

    monkeypatch.setattr(pages.Pages, "_at", fail)
    for format in ("ndjson", "parquet"):
        with pytest.raises(InputInvalid, match=r"^as it was raised$"):
            exported(memory_store, format)


def test_an_error_behind_the_first_page_is_not_a_parquet_file_that_ends_early(memory_store, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_ROWS", 1)
    memory_store.insert_records([BASE, BASE | {"msg": "second"}])
    read, calls = pages.Pages._at, itertools.count()

    def fail_later(self, *arguments):
        if next(calls) == 1:
            raise InputInvalid("as it was raised")
        return read(self, *arguments)

    monkeypatch.setattr(pages.Pages, "_at", fail_later)
    with pytest.raises(InputInvalid, match=r"^as it was raised$"):
        exported(memory_store, "parquet")


def test_another_format_is_refused(memory_store):
    with pytest.raises(InputInvalid, match=r"^format: wanted ndjson or parquet, found 'csv'$"):
        memory_store.export("csv")


MEMORY = """
import sys
from pathlib import Path
from peak_memory import peak_kib
from tracestore import TraceStore
with TraceStore(sys.argv[1], read_only=True) as store:
    exports = [store.export(format, bodies=True) for format in ("ndjson", "parquet")]
    next(exports[0])
    before = peak_kib()
    sizes = [sum(map(len, export)) for export in exports]
    print(before, peak_kib(), sizes[0])
"""


def test_an_export_of_100_000_records_stays_small(tmp_path):
    body = "x" * 1000
    with TraceStore(tmp_path / "store") as store:
        for start in range(0, 100_000, 20_000):
            bodies = {n: f"{n % 500} {body * (n % 10)}" for n in range(start, start + 20_000)}
            records = [BASE | {"timestamp": NOW_MS + n, "msg": f"message {n}", "body": bodies[n]} for n in bodies]
            store.insert_lines([json.dumps(record).encode() for record in records])
            store.sql("SELECT 1")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "store")], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
    )  # fmt: skip
    before_kib, after_kib, with_bodies_bytes = map(int, done.stdout.split())
    assert after_kib - before_kib < 300 * 1024 < with_bodies_bytes / 1024
