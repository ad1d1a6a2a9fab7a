"""What DuckDB's exceptions mean to a user of the store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tracestore.errors import StoreBroken, StoreLocked, StoreUnavailable, TraceStoreError


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn DuckDB's exceptions and OSError into ours; ``what`` names the thing that was tried."""
    try:
        yield
    except TraceStoreError:  # ours, though some are OSErrors too
        raise
    except OSError as error:
        text = f"{what}: {error.strerror}; free space or mend the disk, then try again"
        raise StoreUnavailable(error.errno, text, os.fspath(error.filename or "")) from error
    except duckdb.Error as error:
        raise _ours(what, error) from error


def _ours(what: str, error: duckdb.Error) -> TraceStoreError:
    """Return what an exception of DuckDB means to a user."""
    found = _first_line(error)
    if is_damage(found):
        return StoreBroken(f"{what}: the database is damaged: {found}; run tracestore rebuild")
    if isinstance(error, duckdb.IOException):
        return StoreUnavailable(f"{what}: {found}; free space or mend the disk, then try again")
    if isinstance(error, duckdb.OutOfMemoryException):  # which queries may have for a moment: no damage
        return StoreUnavailable(f"{what}: {found}; try again")
    if isinstance(error, duckdb.TransactionException):
        return StoreUnavailable(f"{what}: {found}; try again")
    if isinstance(error, duckdb.InterruptException):
        return StoreUnavailable(f"{what}: interrupted; try again")
    if isinstance(error, duckdb.FatalException | duckdb.InternalException):
        return StoreUnavailable(f"{what}: DuckDB gave up: {found}; open the store again")
    return StoreBroken(f"{what}: {found}")


def is_damage(text: str) -> bool:
    """Tell whether DuckDB found bytes that it did not write."""
    return any(sign in text for sign in ("valid DuckDB", "orrupt", "checksum", "read enough bytes"))


@contextmanager
def opening(path: Path | None) -> Iterator[None]:
    """Say what a database that does not open means to its user."""
    try:
        yield
    except TraceStoreError:
        raise
    except duckdb.IOException as error:
        text = _first_line(error)
        if "Could not set lock" in text or "Conflicting lock" in text:
            raise StoreLocked(f"{path}: another process has the database open: {text}") from error
        if is_damage(text):
            raise StoreBroken(f"{path}: the database is damaged: {text}; run tracestore rebuild") from error
        raise StoreUnavailable(f"{path}: cannot open the database: {text}") from error
    except OSError as error:
        raise StoreUnavailable(error.errno, f"cannot open the database: {error.strerror}", str(path)) from error
    except duckdb.Error as error:
        raise StoreBroken(
            f"{path}: cannot open the database: {_first_line(error)}; run tracestore rebuild"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
