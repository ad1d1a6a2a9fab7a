"""An answer as it comes: one JSON document a line, so that long work shows how far it is.

::

    {"item": …}               one of many: a record, rows, a body
    {"progress": [3, 10]}     what is done, and what there is to do
    {"result": …}             the last one, and the end
    {"error": {"type": …}}    instead of it: one of `tracestore.errors`, to be raised on the other side
"""

import json
from typing import Any

from tracestore import errors
from tracestore.errors import StoreUnavailable, TraceStoreError

PROTOCOL = "1"
PROTOCOL_HEADER = "Tracestore-Protocol"
"""Both sides send it: a newer client may meet an older collector, and is told to restart it."""


def encode(kind: str, value: Any) -> bytes:
    """Return one frame, with its line end."""
    return json.dumps({kind: value}).encode() + b"\n"


def decode(line: bytes) -> tuple[str, Any]:
    """Return kind and value of a frame; an error is raised."""
    try:
        ((kind, value),) = json.loads(line).items()
    except (ValueError, AttributeError) as error:
        raise StoreUnavailable(f"wanted an answer of the process that holds the store, found {line[:60]!r}") from error
    if kind == "error":
        raise _raised(value)
    return kind, value


def error_members(error: TraceStoreError) -> dict[str, Any]:
    """Return what the other side needs to raise the same error."""
    known = next(kind for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    members: dict[str, Any] = {"type": known.__name__, "message": str(error)}
    if isinstance(error, OSError) and error.strerror is not None:
        members |= {"errno": error.errno, "message": error.strerror, "filename": error.filename}
    return members


def _raised(members: dict[str, Any]) -> TraceStoreError:
    type_ = getattr(errors, members["type"], TraceStoreError)
    if "errno" in members:
        raised: TraceStoreError = type_(members["errno"], members["message"], members["filename"])
        return raised
    return type_(members["message"])
