"""In which order bodies go into packs: what is alike lies together, and what expires together does, too."""

import pytest

from blobs import Digest
from tracestore import LogRecord, TraceStore
from tracestore.database import belonging
from tracestore.database.belonging import belongings

DAY_MS = 86_400_000
BODIES = {
    # conversation, day, span, body
    ("b", 1, "1", "b first, the longer one"),
    ("b", 1, "1", "b first"),
    ("c", 2, "1", "c"),
    ("a", 3, "1", "a small"),
    ("a", 3, "2", "a second, larger than the others"),
    ("a", 3, "2", "a second"),
}
BY_NAME = ["a second, larger than the others", "a second", "a small", "b first, the longer one", "b first", "c"]
BY_DAY = ["b first, the longer one", "b first", "c", "a second, larger than the others", "a second", "a small"]


@pytest.mark.parametrize(("day_bytes", "wanted"), [(100, BY_NAME), (1, BY_DAY), (30, BY_DAY[:2] + BY_DAY[3:] + ["c"])])
def test_full_days_come_apart_and_conversations_of_other_days_by_name(monkeypatch, day_bytes, wanted):
    monkeypatch.setattr(belonging, "DAY_RAW_BYTES", day_bytes)
    with TraceStore.memory() as store:
        store.insert_records(
            LogRecord(timestamp=day * DAY_MS, extension_id="e", level="info", msg=body, conversation_id=conversation,
                      turn_id=f"{conversation}{span}", span_id=span, body=body)
            for conversation, day, span, body in BODIES
        )  # fmt: skip
        assert len(store.get_turn("a2")) == 2  # what was inserted becomes rows
        found = belongings(store._database, [Digest.of(body.encode()) for *_, body in BODIES])
        text_of = {bytes(Digest.of(body.encode())): body for *_, body in BODIES}
    assert [text_of[digest] for digest, _, _ in found] == wanted
    assert {(conversation, day) for _, conversation, day in found} == {("a", 3), ("b", 1), ("c", 2)}
