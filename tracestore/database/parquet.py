"""Tables as the bytes of one Parquet file, written while they come and read from a pipe.

A database of its own writes it, outside the store's: no transaction of the store is open meanwhile,
nothing is put on its disk, and a reader that is slow slows the writing, not the store.
"""

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain

import arro3.core as arrow
import duckdb

from tracestore.database.failures import translated

_CHUNK_BYTES = 256 * 1024
_ROW_GROUP = "8MB"
"""Of rows as they are in memory; a body alone may be larger."""
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "preserve_insertion_order": False,  # one thread keeps the order all the same, and row groups are cut by bytes
    "memory_limit": "-1",  # what waits for a pipe counts as large as it was uncompressed: 40 times what it takes
    "temp_directory": "",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_WRITE = f"""
COPY (
    SELECT * EXCLUDE (timestamp_ns) REPLACE (
        record_id::UUID AS record_id, attributes::JSON AS attributes, links::JSON AS links, extra::JSON AS extra
    ) FROM tables
) TO '/dev/fd/%d' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE_BYTES '{_ROW_GROUP}')
"""


def bodies_named(table: arrow.Table) -> tuple[list[bytes | None], list[int]]:
    """Return the digest and the size in bytes of each row's body; None and 0 without one."""
    digests = table["body_digest"].to_pylist()
    sizes = table["body_size_bytes"].to_pylist()
    return [None if digest is None else bytes.fromhex(digest) for digest in digests], [size or 0 for size in sizes]


def with_bodies(table: arrow.Table, bodies: Sequence[bytes | str | None]) -> arrow.Table:
    """Add the columns ``body`` and ``body_state``; a text among the bodies says why there is none."""
    states = ["present" if isinstance(body, bytes) else body for body in bodies]
    binary, text = arrow.DataType.binary(), arrow.DataType.string()
    blobs = arrow.Array([body if isinstance(body, bytes) else None for body in bodies], type=binary)
    table = table.append_column(arrow.Field("body", binary), arrow.ChunkedArray([blobs]))
    states_column = arrow.ChunkedArray([arrow.Array(states, type=text)])
    return table.append_column(arrow.Field("body_state", text), states_column)


def parquet_of(tables: Iterable[arrow.Table]) -> Generator[bytes]:
    """Yield the bytes of a Parquet file of tables with the columns of `Pages.tables`; there is at least one.

    Raises what the tables raise. Closed early, it stops asking for tables.
    """
    rest = iter(tables)
    first = next(rest)
    failures: list[BaseException] = []

    def batches() -> Iterator[arrow.RecordBatch]:
        try:
            for table in chain([first], rest):
                yield from table.to_batches()
        except BaseException as error:  # DuckDB would make a text of it
            failures.append(error)
            raise

    read_fd, write_fd = os.pipe()
    reader = arrow.RecordBatchReader.from_batches(first.schema, batches())
    writer = threading.Thread(target=_write, args=(reader, write_fd, failures), name="tracestore-parquet", daemon=True)
    writer.start()
    try:
        while chunk := os.read(read_fd, _CHUNK_BYTES):
            yield chunk
    finally:
        os.close(read_fd)  # a writer that is not done fails at its next byte
        writer.join()
    if failures:
        raise failures[0]


def _write(reader: arrow.RecordBatchReader, fd: int, failures: list[BaseException]) -> None:
    try:
        with translated("writing Parquet"), duckdb.connect(":memory:", config=_SETTINGS) as connection:
            connection.execute("SET enable_progress_bar = false")  # it is drawn where Python runs interactively
            connection.register("tables", reader)
            connection.execute(_WRITE % fd)
    except BaseException as error:
        failures.append(error)
    finally:
        os.close(fd)
