"""Databases as the SQLite trace store left them, built here with its own statements' shapes."""

import base64
import gzip
import json
import os
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tracestore.errors import InputInvalid, StoreBroken, StoreNotFound
from tracestore.formats.seed_sqlite import read_seed_records

COLUMNS = (
    "id TEXT PRIMARY KEY, kind TEXT NOT NULL, level TEXT, msg TEXT, name TEXT, spanId TEXT, parentSpanId TEXT, "
    "conversationId TEXT, turnId TEXT, extensionId TEXT NOT NULL, timestamp INTEGER NOT NULL, durationMs INTEGER, "
    "status TEXT, attributes TEXT, links TEXT"
)
OLDER = f"CREATE TABLE records ({COLUMNS}); CREATE TABLE bodies (recordId TEXT PRIMARY KEY, body TEXT NOT NULL);"
NEWER = f"""
    CREATE TABLE records ({COLUMNS}, bodyHash TEXT);
    CREATE INDEX idx_records_timestamp ON records(timestamp);
    CREATE TABLE bodies (hash TEXT PRIMARY KEY, body BLOB NOT NULL, isCompressed INTEGER NOT NULL DEFAULT 0,
                         originalSize INTEGER NOT NULL, storedSize INTEGER NOT NULL);
"""
LONG_TEXT = json.dumps({"messages": [{"role": "user", "content": "Grüße 世界 \ufeff " * 400}]}, ensure_ascii=False)
RECORDS: list[dict[str, Any]] = [
    {
        "kind": "span-open",
        "timestamp": 1700000000200,
        "extensionId": "host",
        "conversationId": "c-1",
        "turnId": "t-1",
        "spanId": "s-1",
        "name": "request",
        "attributes": {"model": "m-1", "temperature": 0.5, "stream": True, "seed": None},
        "links": [{"spanId": "s-0", "turnId": "t-0", "reason": "caused"}],
        "body": LONG_TEXT,
    },
    {"kind": "log", "timestamp": 1700000000100, "extensionId": "host", "level": "warn", "msg": "", "spanId": "s-1"},
    {
        "kind": "span-close",
        "timestamp": 1700000000300,
        "extensionId": "host",
        "turnId": "t-1",
        "spanId": "s-1",
        "parentSpanId": "s-0",
        "name": "request",
        "durationMs": 100,
        "status": "error",
        "body": "\ufeffshort, with a mark in front and a \x00 inside",
    },
    {"kind": "log", "timestamp": 1700000000400, "extensionId": "x", "level": "info", "msg": "same", "body": LONG_TEXT},
    {"kind": "log", "timestamp": 1700000000500, "extensionId": "x", "level": "info", "msg": "empty body", "body": ""},
]

MakeDatabase = Callable[..., Path]


@pytest.fixture
def make_database(tmp_path: Path) -> MakeDatabase:
    def make(schema: str, *statements: tuple[str, Any] | str, name: str = "traces.db") -> Path:
        path = tmp_path / name
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(schema)
            for statement in statements:
                connection.execute(*([statement] if isinstance(statement, str) else statement))
            connection.commit()
        return path

    return make


def insert(table: str, **values: Any) -> tuple[str, Any]:
    columns = ", ".join(f'"{column}"' for column in values)
    marks = ", ".join("?" * len(values))
    return f'INSERT OR IGNORE INTO "{table}" ({columns}) VALUES ({marks})', tuple(values.values())


def row_of(record: dict[str, Any], record_id: str) -> dict[str, Any]:
    fields = {key: value for key, value in record.items() if key != "body"}
    texts = {key: json.dumps(fields[key]) for key in ("attributes", "links") if key in fields}
    return {"id": record_id} | fields | texts


def older_rows(records: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    rows = []
    for number, record in enumerate(records):
        # Ids are hashes: their order has nothing to do with the order of insertion.
        record_id = f"{(number * 7 + 3) % 10:016x}"
        rows.append(insert("records", **row_of(record, record_id)))
        if "body" in record:
            rows.append(insert("bodies", recordId=record_id, body=record["body"]))
    return rows


def newer_rows(records: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    rows = []
    for number, record in enumerate(records):
        row = row_of(record, f"{(number * 7 + 3) % 10:016x}")
        if "body" in record:
            raw = record["body"].encode()
            row["bodyHash"] = f"{abs(hash(raw)):064x}"
            rows.append(insert_body(row["bodyHash"], raw))
        rows.append(insert("records", **row))
    return rows


def insert_body(body_hash: str, raw: bytes) -> tuple[str, Any]:
    packed = gzip.compress(raw) if len(raw) > 1024 else raw
    stored = min(raw, packed, key=len)
    is_packed = stored is not raw
    sizes = {"originalSize": len(raw), "storedSize": len(stored)}
    return insert("bodies", hash=body_hash, body=stored, isCompressed=int(is_packed), **sizes)


A_LOG = {"kind": "log", "timestamp": 5, "extensionId": "x", "level": "info", "msg": "m"}


def test_the_older_layout_gives_every_record_back_in_order_of_insertion(make_database: MakeDatabase) -> None:
    """Seed defect `migration`: opening a database of the previous version throws."""
    assert list(read_seed_records(make_database(OLDER, *older_rows(RECORDS)))) == RECORDS


def test_the_newer_layout_gives_every_record_back_in_order_of_insertion(make_database: MakeDatabase) -> None:
    path = make_database(NEWER, *newer_rows(RECORDS))
    with closing(sqlite3.connect(path)) as connection:
        flags = connection.execute("SELECT isCompressed FROM bodies ORDER BY originalSize").fetchall()
    assert flags == [(0,), (0,), (1,)], "the long body must be stored once, packed"
    assert list(read_seed_records(str(path))) == RECORDS


def test_an_upgrade_that_broke_off_loses_no_body(make_database: MakeDatabase) -> None:
    """Seed defect `migration`: the second start takes `bodies_old` for done and never reads it again."""
    schema = NEWER + "CREATE TABLE bodies_old (recordId TEXT PRIMARY KEY, body TEXT NOT NULL);"
    old = [insert("records", **row_of(RECORDS[0], "1")), insert("bodies_old", recordId="1", body=RECORDS[0]["body"])]
    assert list(read_seed_records(make_database(schema, *old, *newer_rows(RECORDS[1:])))) == RECORDS


def test_names_in_snake_case_are_read_too(make_database: MakeDatabase) -> None:
    path = make_database(
        "CREATE TABLE trace_records (seq INTEGER PRIMARY KEY, kind TEXT, ts INTEGER, span_id TEXT, extension_id TEXT,"
        " level TEXT, msg TEXT, body_hash TEXT); CREATE TABLE blobs (digest TEXT, content BLOB, encoding TEXT);",
        insert("trace_records", kind="log", ts=5, extension_id="x", level="info", msg="m", body_hash="h"),
        insert("blobs", digest="h", content=gzip.compress(b"text"), encoding="gzip"),
    )
    assert list(read_seed_records(path)) == [A_LOG | {"body": "text"}]


def test_without_a_flag_gzip_is_known_by_its_first_bytes(make_database: MakeDatabase) -> None:
    schema = f"CREATE TABLE records ({COLUMNS}, bodyHash TEXT); CREATE TABLE bodies (hash TEXT, body BLOB);"
    rows = [insert("records", id=name, bodyHash=name, **A_LOG) for name in ("packed", "plain")]
    bodies = [insert("bodies", hash="packed", body=gzip.compress(b"p")), insert("bodies", hash="plain", body=b"q")]
    path = make_database(schema, *rows, *bodies)
    assert [record["body"] for record in read_seed_records(path)] == ["p", "q"]


@pytest.mark.parametrize("raw", [b"\xff\x00\xfe", b"half \xed\xa0\xbd", b"\x1f\x8b is not always gzip"])
def test_a_body_that_is_not_text_comes_as_its_very_bytes(make_database: MakeDatabase, raw: bytes) -> None:
    path = make_database(NEWER, insert("records", id="1", bodyHash="h", **A_LOG), insert_body("h", raw))
    (record,) = read_seed_records(path)
    assert record["bodyEncoding"] == "base64"
    assert base64.b64decode(record["body"]) == raw


def test_old_text_that_is_not_utf_8_comes_as_its_very_bytes(make_database: MakeDatabase) -> None:
    body = "INSERT INTO bodies VALUES ('1', CAST(X'41FF42' AS TEXT))"
    (record,) = read_seed_records(make_database(OLDER, insert("records", id="1", **A_LOG), body))
    assert (base64.b64decode(record["body"]), record["bodyEncoding"]) == (b"A\xffB", "base64")


def test_a_missing_body_is_said_in_its_record(make_database: MakeDatabase) -> None:
    (record,) = read_seed_records(make_database(NEWER, insert("records", id="1", bodyHash="gone", **A_LOG)))
    assert record == A_LOG | {"seedBodyProblem": "no body 'gone' in the database"}


@pytest.mark.parametrize("damage", ["cut", "flipped", "never packed"])
def test_a_body_that_does_not_unpack_keeps_its_stored_bytes_and_says_so(
    make_database: MakeDatabase, damage: str
) -> None:
    packed = gzip.compress(b"a body" * 500)
    flipped = packed[:20] + bytes([packed[20] ^ 0xFF]) + packed[21:]
    stored = {"cut": packed[:-10], "flipped": flipped, "never packed": b"plain \xff"}[damage]
    sizes = {"originalSize": 3000, "storedSize": len(stored)}
    body = insert("bodies", hash="h", body=stored, isCompressed=1, **sizes)
    first, second = read_seed_records(
        make_database(NEWER, insert("records", id="1", bodyHash="h", **A_LOG), body, insert("records", id="2", **A_LOG))
    )
    assert first["seedBodyProblem"].startswith("does not unpack")
    assert base64.b64decode(first["body"]) == stored
    assert second == A_LOG, "one bad body must not stop the import"


def test_a_body_of_the_wrong_size_is_given_and_said(make_database: MakeDatabase) -> None:
    body = insert("bodies", hash="h", body=b"abc", isCompressed=0, originalSize=4, storedSize=3)
    (record,) = read_seed_records(make_database(NEWER, insert("records", id="1", bodyHash="h", **A_LOG), body))
    assert record == A_LOG | {"body": "abc", "seedBodyProblem": "wanted 4 bytes, found 3"}


def test_a_row_that_is_no_record_comes_as_it_is(make_database: MakeDatabase) -> None:
    """Seed defect `insert`: an unknown kind is stored as a span-close."""
    path = make_database(
        OLDER,
        insert("records", id="1", kind="metric", extensionId="x", timestamp="yesterday", attributes="{torn"),
        insert("records", id="2", kind="log", extensionId="x", timestamp=1.5, links="[" * 100_000, msg=b"\xff"),
    )
    first, second = read_seed_records(path)
    assert first == {"kind": "metric", "extensionId": "x", "timestamp": "yesterday", "attributes": "{torn"}
    assert second["links"] == "[" * 100_000
    assert (second["timestamp"], second["msg"]) == (1.5, {"base64": "/w=="})


def test_a_column_nobody_knows_travels_under_its_own_name(make_database: MakeDatabase) -> None:
    path = make_database(
        OLDER + "ALTER TABLE records ADD COLUMN tenant TEXT; ALTER TABLE records ADD COLUMN span_id TEXT;",
        insert("records", id="1", tenant="acme", spanId="s", **A_LOG),
        insert("records", id="2", **A_LOG),
    )
    assert list(read_seed_records(path)) == [A_LOG | {"tenant": "acme", "spanId": "s"}, A_LOG]


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ("", "no table"),
        ("CREATE TABLE notes (id, text)", r"notes\(id, text\)"),
        (f"CREATE TABLE records ({COLUMNS})", r"records\(id, kind, .*links\)$"),
        (f"CREATE TABLE records ({COLUMNS}, bodyHash TEXT); CREATE TABLE bodies (recordId, body)", r"bodies\(recordId"),
        (f"CREATE TABLE records ({COLUMNS}); CREATE TABLE bodies (hash, body)", r"bodies\(hash, body\)"),
        (OLDER.replace("NULL);", "NULL) WITHOUT ROWID;"), "no such column"),
    ],
)
def test_another_shape_is_refused_with_what_was_wanted_and_found(
    make_database: MakeDatabase, schema: str, found: str
) -> None:
    with pytest.raises(InputInvalid, match=f"^wanted .*found .*{found}"):
        list(read_seed_records(make_database(schema)))


def test_a_path_without_a_file_is_an_error_and_stays_without_one(tmp_path: Path) -> None:
    """Seed defect `cli`: a mistyped path creates an empty database and exits 0."""
    with pytest.raises(StoreNotFound, match="found nothing"):
        list(read_seed_records(tmp_path / "typo.db"))
    with pytest.raises(StoreNotFound, match="found a directory"):
        list(read_seed_records(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trace.ndjson").write_text('{"kind":"log"}\n' * 1000)
    with pytest.raises(InputInvalid, match="found another kind of file"):
        list(read_seed_records(tmp_path / "trace.ndjson"))


def test_damage_is_reported_and_not_taken_for_the_end(make_database: MakeDatabase) -> None:
    many = [insert("records", id=f"{number}", **A_LOG) for number in range(2000)]
    path = make_database(OLDER, *many)
    pages = bytearray(path.read_bytes())
    pages[len(pages) // 2 : len(pages) // 2 + 16_384] = b"\xff" * 16_384
    path.write_bytes(pages)
    with pytest.raises(StoreBroken, match=r"found damage .*\.recover"):
        list(read_seed_records(path))


def test_a_path_with_marks_of_a_uri_is_read(make_database: MakeDatabase) -> None:
    path = make_database(OLDER, insert("records", id="1", **A_LOG), name="50% of #1?mode=rwc.db")
    assert list(read_seed_records(path)) == [A_LOG]


def test_rows_that_a_running_application_has_not_checkpointed_are_read(make_database: MakeDatabase) -> None:
    path = make_database(OLDER)
    with closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute(*insert("records", id="1", **A_LOG))
        reader = read_seed_records(path)
        assert next(reader) == A_LOG
        application.execute(*insert("records", id="2", **A_LOG))
        assert list(reader) == [], "the import sees one state of the database"
        assert len(list(read_seed_records(path))) == 2


def test_an_import_given_up_half_way_leaves_the_database_free(make_database: MakeDatabase) -> None:
    path = make_database(OLDER, *older_rows(RECORDS))
    reader = read_seed_records(path)
    next(reader)
    reader.close()  # type: ignore[attr-defined]  # it is a generator
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_database_on_a_read_only_disk_is_read(make_database: MakeDatabase) -> None:
    path = make_database(OLDER, insert("records", id="1", **A_LOG))
    path.parent.chmod(0o555)
    try:
        assert list(read_seed_records(path)) == [A_LOG]
    finally:
        path.parent.chmod(0o755)


def test_one_body_is_in_memory_at_a_time(make_database: MakeDatabase) -> None:
    """Seed defect `scale`: the whole backlog is read at once."""
    bodies = [insert_body(f"{number}", os.urandom(500_000).hex().encode()) for number in range(30)]
    rows = [insert("records", id=f"{number}", bodyHash=f"{number}", **A_LOG) for number in range(30)]
    path = make_database(NEWER, *bodies, *rows)
    tracemalloc.start()
    try:
        assert sum(len(record["body"]) for record in read_seed_records(path)) == 30_000_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000


def test_what_is_no_number_of_json_never_becomes_null(make_database: MakeDatabase) -> None:
    path = make_database(
        OLDER,
        insert(
            "records",
            id="a",
            kind="span-close",
            spanId="s",
            name="n",
            extensionId="x",
            timestamp=1,
            durationMs=float("inf"),
            status="ok",
            attributes='{"cost": NaN}',
        ),
    )

    (record,) = read_seed_records(path)

    assert record["durationMs"] == "inf"
    assert record["attributes"] == '{"cost": NaN}'
