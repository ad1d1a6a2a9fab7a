"""Rows of a trace database, turned into journal records one by one."""

import base64
import gzip
import json
import math
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tracestore.errors import InputInvalid, StoreBroken, StoreNotFound, StoreUnavailable, TraceStoreError
from tracestore.formats.seed_sqlite.shape import BodiesTable, Shape, recognise

_SqlValue: TypeAlias = str | bytes | int | float | None

_JSON_TEXT_KEYS = frozenset({"attributes", "links"})
_FLAGS_OF_GZIP = frozenset({"1", "true", "gzip", "gz"})
_GZIP_MAGIC = b"\x1f\x8b"


def read_seed_records(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield every record in the journal's JSON shape, in order of insertion.

    StoreNotFound without a file, InputInvalid where it is not such a database; both at the first
    record asked for.
    """
    path = Path(path)
    with _translated(path), closing(_connect(path)) as connection:
        shape = recognise(connection, path)
        for row in connection.execute(shape.select_sql()):
            yield _to_record(connection, shape, row)


def _connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        what = "a directory" if path.is_dir() else "nothing"
        raise StoreNotFound(f"wanted an SQLite file at {path}; found {what}; check the path")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True)
    if _is_unopenable(connection) and not _has_wal(path):
        # A write-ahead log cannot be set up on a read-only disk, nor is there one to miss.
        connection.close()
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    # Text that is not UTF-8 would stop the import; this way its bytes survive in the text.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _is_unopenable(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.Error as error:  # any other one comes again with the next query, and is reported there
        return error.sqlite_errorcode in (sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_CANTOPEN)
    return False


def _has_wal(path: Path) -> bool:
    wal = path.with_name(f"{path.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error


def _translate(error: sqlite3.Error, path: Path) -> TraceStoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF  # the rest are details
    if code == sqlite3.SQLITE_NOTADB:
        return InputInvalid(f"wanted an SQLite database at {path}; found another kind of file")
    if code == sqlite3.SQLITE_ERROR:
        return InputInvalid(f"wanted ordinary tables with row ids in {path}; found others ({error})")
    if code == sqlite3.SQLITE_CORRUPT:
        advice = "run `sqlite3 FILE .recover` into a new file and import that"
        return StoreBroken(f"wanted a sound SQLite database at {path}; found damage ({error}); {advice}")
    return StoreUnavailable(f"wanted to read {path}; SQLite says: {error}; try again, or import a copy")


def _to_record(connection: sqlite3.Connection, shape: Shape, row: tuple[_SqlValue, ...]) -> dict[str, Any]:
    width = len(shape.key_by_column)
    members = zip(shape.key_by_column.values(), row[:width], strict=True)
    record = {key: _to_json(key, value) for key, value in members if value is not None}
    body_hash, *rowids = row[width:]
    for bodies, rowid in zip(shape.bodies, rowids, strict=True):
        if rowid is not None:
            return record | _read_body(connection, bodies, rowid)
    if body_hash is not None:
        record["seedBodyProblem"] = f"no body {body_hash!r} in the database"
    return record


def _to_json(key: str, value: _SqlValue) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if key in _JSON_TEXT_KEYS and isinstance(value, str):
        try:
            return json.loads(value, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return value  # stays visible, and is set aside because it is no object
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # no number of JSON: as text it is set aside too, as null it would be a changed value
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _read_body(connection: sqlite3.Connection, bodies: BodiesTable, rowid: _SqlValue) -> dict[str, Any]:
    content, flag, raw_size = connection.execute(bodies.select_sql(), (rowid,)).fetchone()
    if content is None:
        return {"seedBodyProblem": f"an empty row in {bodies.table}"}
    stored = content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogateescape")
    raw, problem = stored, None
    if _is_gzip(bodies, stored, flag, raw_size):
        try:
            raw = gzip.decompress(stored)
        except (OSError, EOFError, zlib.error) as error:
            problem = f"does not unpack ({error}); body holds the bytes as they were stored"
    if problem is None and bodies.raw_size and raw_size != len(raw):
        problem = f"wanted {raw_size} bytes, found {len(raw)}"
    return _body_members(raw) | ({"seedBodyProblem": problem} if problem else {})


def _is_gzip(bodies: BodiesTable, stored: bytes, flag: _SqlValue, raw_size: _SqlValue) -> bool:
    if bodies.flag:
        return str(flag).lower() in _FLAGS_OF_GZIP
    return stored.startswith(_GZIP_MAGIC) and not (bodies.raw_size and raw_size == len(stored))


def _body_members(raw: bytes) -> dict[str, Any]:
    try:
        return {"body": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(raw).decode("ascii"), "bodyEncoding": "base64"}
