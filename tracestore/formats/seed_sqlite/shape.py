"""The shape of a trace database: which table and column holds what.

Recognised by columns without case and underscores; the shapes are in the package's docstring.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tracestore.errors import InputInvalid

_Columns: TypeAlias = dict[str, str]
"""A table's columns by their names without case and underscores."""

_JSON_KEYS = (
    *("kind", "timestamp", "extensionId", "conversationId", "turnId", "spanId", "parentSpanId"),
    *("level", "msg", "name", "durationMs", "status", "attributes", "links"),
)
_KEY_BY_COLUMN = {key.lower(): key for key in _JSON_KEYS} | {"ts": "timestamp"}
_ID_COLUMNS = ("id", "recordid")
_NAMED_HASH_COLUMNS = ("bodyhash", "bodydigest")
_HASH_COLUMNS = ("hash", "digest", *_NAMED_HASH_COLUMNS)
_INTERNAL_COLUMNS = frozenset({*_ID_COLUMNS, *_NAMED_HASH_COLUMNS, "seq", "rowid"})
_CONTENT_COLUMNS = ("body", "data", "content", "bytes", "blob")
_FLAG_COLUMNS = ("iscompressed", "compressed", "isgzip", "gzip", "encoding", "compression")
_SIZE_COLUMNS = ("originalsize", "rawsize")
_RECORDS_NEED = ("kind", "timestamp", "spanId", "extensionId")

_WANTED = (
    f"wanted a records table with the columns {', '.join(_RECORDS_NEED)} and a bodies table, either (recordId, body) "
    "beside records.id or (hash, body) beside records.bodyHash"
)


@dataclass(frozen=True, slots=True)
class BodiesTable:
    """A table of bodies, and the column of the records that names its rows."""

    table: str
    key: str
    named_by: str
    content: str
    flag: str | None
    raw_size: str | None

    def rowid_sql(self) -> str:
        """Return the expression that finds a record's body, without reading it."""
        by = f"b.{_quoted(self.key)} = r.{_quoted(self.named_by)}"
        return f"(SELECT b.rowid FROM {_quoted(self.table)} b WHERE {by})"

    def select_sql(self) -> str:
        """Return the query of one body by its row."""
        columns = (_quoted(name) if name else "NULL" for name in (self.content, self.flag, self.raw_size))
        return f"SELECT {', '.join(columns)} FROM {_quoted(self.table)} WHERE rowid = ?"


@dataclass(frozen=True, slots=True)
class Shape:
    """Where this database keeps what."""

    table: str
    key_by_column: dict[str, str]
    hash_column: str | None
    bodies: tuple[BodiesTable, ...]

    def select_sql(self) -> str:
        """Return the query of all records: their columns, the hash, then a body's row by table."""
        columns = [f"r.{_quoted(column)}" for column in self.key_by_column]
        columns.append(f"r.{_quoted(self.hash_column)}" if self.hash_column else "NULL")
        columns += [bodies.rowid_sql() for bodies in self.bodies]
        return f"SELECT {', '.join(columns)} FROM {_quoted(self.table)} r ORDER BY r.rowid"


def recognise(connection: sqlite3.Connection, path: Path) -> Shape:
    """Find records and bodies; anything else raises InputInvalid with the tables that are there."""
    tables = _list_tables(connection)
    found = [
        (len(columns.keys() & _KEY_BY_COLUMN.keys()), table, columns)
        for table, columns in tables.items()
        if all(_pick(columns, *_columns_of(key)) for key in _RECORDS_NEED)
    ]
    if not found:
        raise _unrecognised(path, tables)
    _, table, columns = max(found, key=lambda candidate: candidate[0])
    hash_column = _pick(columns, *_NAMED_HASH_COLUMNS)
    id_column = _pick(columns, *_ID_COLUMNS)
    others = (
        _recognise_bodies(name, other, id_column, hash_column) for name, other in tables.items() if name != table
    )
    bodies = tuple(one for one in others if one is not None)
    if not bodies or (hash_column and all(one.named_by != hash_column for one in bodies)):
        raise _unrecognised(path, tables)
    return Shape(table, _name_keys(columns), hash_column, bodies)


def _name_keys(columns: _Columns) -> dict[str, str]:
    """Give each column that carries meaning its JSON key; one that nobody knows keeps its name."""
    key_by_column: dict[str, str] = {}
    for short, column in columns.items():
        key = _KEY_BY_COLUMN.get(short, column)
        if short not in _INTERNAL_COLUMNS:
            key_by_column[column] = column if key in key_by_column.values() else key
    return key_by_column


def _recognise_bodies(
    table: str, columns: _Columns, id_column: str | None, hash_column: str | None
) -> BodiesTable | None:
    content = _pick(columns, *_CONTENT_COLUMNS)
    by_hash, by_record = _pick(columns, *_HASH_COLUMNS), columns.get("recordid")
    if by_hash is None and by_record is None:
        # A plain id names a body the way the records do.
        by_hash, by_record = (columns.get("id"), None) if hash_column else (None, columns.get("id"))
    key, named_by = (by_record, id_column) if by_record else (by_hash, hash_column)
    if content is None or key is None or named_by is None:
        return None
    return BodiesTable(table, key, named_by, content, _pick(columns, *_FLAG_COLUMNS), _pick(columns, *_SIZE_COLUMNS))


def _list_tables(connection: sqlite3.Connection) -> dict[str, _Columns]:
    """Map each table to its columns, each by its name without case and underscores."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    tables: dict[str, _Columns] = {}
    for (name,) in names:
        columns = tables[name] = {}
        for _, column, *_ in connection.execute(f"PRAGMA table_info({_quoted(name)})"):
            columns.setdefault(column.lower().replace("_", ""), column)
    return tables


def _columns_of(key: str) -> list[str]:
    return [column for column, its_key in _KEY_BY_COLUMN.items() if its_key == key]


def _pick(columns: _Columns, *names: str) -> str | None:
    return next((columns[name] for name in names if name in columns), None)


def _unrecognised(path: Path, tables: dict[str, _Columns]) -> InputInvalid:
    shapes = [f"{table}({', '.join(columns.values())})" for table, columns in tables.items()]
    return InputInvalid(f"{_WANTED}; found in {path}: {'; '.join(shapes) or 'no table'}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
