"""Everything tracestore raises; one root, and what each failure means to a shell.

Every message says what was wanted, what was found and what to do next. ``exit_code`` is the
code the command line ends with; `tracestore --help` prints the same table.
"""


class TraceStoreError(Exception):
    """Root of every error of this package."""

    exit_code = 1


class InputInvalid(TraceStoreError, ValueError):
    """A value that was handed in cannot be used: an option, a query, a policy, a record."""

    exit_code = 2


class RecordInvalid(InputInvalid):
    """A line or an object is not a record; the message names the field, the wanted and the found value."""


class QueryInvalid(InputInvalid):
    """The database does not accept a query."""


class StoreNotFound(TraceStoreError, FileNotFoundError):
    """There is no store at the path."""

    exit_code = 3


class StoreBroken(TraceStoreError):
    """A store is there, but damaged, incomplete or of a format this release does not know."""

    exit_code = 3


class StoreLocked(TraceStoreError):
    """Another process holds the store; ``holder`` tells which."""

    exit_code = 4

    def __init__(self, message: str, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder


class NotFound(TraceStoreError, LookupError):
    """No such turn, record, span or body."""

    exit_code = 5


class StoreUnavailable(TraceStoreError, OSError):
    """The disk or the database failed: full, read-only, an I/O error, no permission."""

    exit_code = 6


class PruneRefused(TraceStoreError):
    """A prune would delete more than it can account for."""

    exit_code = 7


def message_of(error: Exception) -> str:
    """Return what an error says to people; an OSError without the number that Python puts before it."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
