"""The one way into the journal: whatever is recorded is completed, masked and written as lines here.

Nothing raises into the application from here on: what cannot be written is dropped, and counted.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from mmap import mmap  # not late: where memory lacks its own import ends the process, too
from typing import Any

from tracestore.capture import plain
from tracestore.capture.clock import Clock, NewId
from tracestore.capture.drops import Reason
from tracestore.capture.queue import JournalQueue
from tracestore.capture.redaction import Redaction
from tracestore.record import Scalar, encode_members
from tracestore.record.attributes import COUNT_LIMIT, Flat, Members, with_attributes
from tracestore.record.limits import BODY_LIMIT_BYTES

DROPPED_MSG = "records were dropped"
_BODY_DROPPED = "body_dropped_bytes"
_MAY_SPILL = 1000
"""Characters from which on a text may be over the limit of an attribute, which counts bytes."""

_NEEDS_ROOM = 500_000
"""Length of a body from which on it is looked whether there is memory for its line."""


class Funnel:
    """Completes, masks and encodes records, and hands their lines to the queue."""

    def __init__(
        self, queue: JournalQueue, redaction: Redaction, clock: Clock, new_id: NewId, *, in_context: bool
    ) -> None:
        self.queue = queue
        self.redaction = redaction
        self.clock = clock
        self.new_id = new_id
        self.in_context = in_context

    def emit(self, record: Members, attributes: object = None, body: object = None) -> None:
        """Take one record in the journal's JSON shape, and what it says: see `plain`.

        A text over 4 KB among the attributes becomes a body of its own, in a log behind the record.
        """
        try:
            if body is not None:
                record["body"] = plain.body(body, self.redaction.data)
            records = with_attributes(record, self._flat(attributes)) if attributes else [record]
            for each in records:
                self.queue.put(self._line(each))
        except Exception:  # whatever an application's objects do when they are asked what they are
            self.drop("invalid")

    def emit_all(self, records: Iterable[Members]) -> None:
        """Take records that are complete."""
        for record in records:
            self.emit(record)

    def drop(self, reason: Reason) -> None:
        """Count a record that cannot be recorded."""
        self.queue.drop(reason)

    def scalars(self, attributes: object) -> dict[str, Scalar]:
        """Return attributes as a record has them, and masked as far as that has to be done before: see `plain`."""
        return plain.attributes(attributes, self.masked)

    def _flat(self, attributes: object) -> Flat:
        flat = Flat()
        values = self.redaction.attributes(self.scalars(attributes))
        if len(values) > COUNT_LIMIT or any(len(name) > _MAY_SPILL for name in values):
            values = self.redaction.value(values)
        for name, value in values.items():
            # What becomes a body of its own is named by its digest, which has to be that of the masked text.
            flat.add(name, self.redaction.text(value) if isinstance(value, str) and len(value) > _MAY_SPILL else value)
        return flat

    def masked(self, value: object) -> Any:
        """Return what is within a value, masked while its names and bytes are still to be seen."""
        try:
            return self.redaction.value(plain.builtins(value))
        except Exception:  # too deep
            return plain.text(value)

    def _line(self, record: Members) -> bytes:
        body = record.get("body")
        if body is not None and len(body) > BODY_LIMIT_BYTES:
            return self._line_without_body(record)
        if body is not None and len(body) > _NEEDS_ROOM:
            _check_room_for(body)
        line = self.redaction.line(encode_members(record), record, encode_members)
        return line if body is None or len(line) <= BODY_LIMIT_BYTES else self._line_without_body(record)

    def _line_without_body(self, record: Members) -> bytes:
        """Return the line of a record whose body does not fit into one; how large it was is an attribute."""
        self.drop("too_large")
        body = record["body"]
        size_bytes = len(body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass"))
        attributes = {**record.get("attributes", {}), _BODY_DROPPED: size_bytes}
        rest = {key: value for key, value in record.items() if key != "body"} | {"attributes": attributes}
        return self.redaction.line(encode_members(rest), rest, encode_members)


def _check_room_for(body: str | bytes) -> None:
    """Raise OSError where memory lacks for a line: msgspec 0.22 ends the process when it finds none."""
    mmap(-1, 6 * sys.getsizeof(body)).close()  # its UTF-8 or base64, and what that grows to; nothing is touched


def line_of_drops(counts: "Counter[Reason]", extension_id: str, timestamp_ms: float, own_id: str) -> bytes:
    """Return the line that says how many records were dropped."""
    attributes = {"dropped": counts.total()} | {f"dropped.{reason}": count for reason, count in counts.items()}
    return encode_members({
        "kind": "log",
        "timestamp": timestamp_ms,
        "extensionId": extension_id,
        "level": "warn",
        "msg": DROPPED_MSG,
        "attributes": attributes,
        "id": own_id,
    })
