"""What an application says is what the store holds, whatever it says."""

import dataclasses
import enum
import json
import logging

import pytest

from tracestore.capture import Clock, JournalHandler, Recorder
from tracestore.errors import InputInvalid
from tracestore.record.limits import BODY_LIMIT_BYTES


def test_every_field_comes_back_from_the_store(recorder, collected, now_ms):
    one = recorder.child(conversation_id="c1", turn_id="t1")
    with one.span("chat", {"model": "m-1", "is_new": True, "none": None}, body={"messages": ["é"]}) as span:
        span.warn("slow", body="why", retries=2)
        with span.child("tool.call", body=b"\xff\x00") as tool:
            tool.add_link("s9", "t9", "retries")
        span.set_attributes({"tokens": 12}, cost=0.5)
        span.end(body="the answer")
    store = collected(recorder)
    opened, warned, tool_opened, tool_closed, closed = store.get_turn("t1")
    store.fetch_bodies([opened, warned, tool_opened, tool_closed, closed])
    whole = {"conversationId": "c1", "turnId": "t1", "extensionId": "app"}
    chat = {"spanId": "0000000000000001", "name": "chat"}
    call = {"spanId": "0000000000000003", "name": "tool.call", "parentSpanId": "0000000000000001"}
    assert opened.to_json_dict() == whole | chat | {
        "kind": "span-open", "timestamp": now_ms, "body": '{"messages":["é"]}',
        "attributes": {"model": "m-1", "is_new": True, "none": None},
    }  # fmt: skip
    assert warned.to_json_dict() == whole | {
        "kind": "log", "timestamp": now_ms + 1, "level": "warn", "msg": "slow", "body": "why",
        "attributes": {"retries": 2}, "spanId": "0000000000000001", "id": "0000000000000002",
    }  # fmt: skip
    assert tool_opened.to_json_dict() == whole | call | {
        "kind": "span-open", "timestamp": now_ms + 2, "body": b"\xff\x00",
    }  # fmt: skip
    assert tool_closed.to_json_dict() == whole | call | {
        "kind": "span-close", "timestamp": now_ms + 3, "durationMs": 1, "status": "ok",
        "links": [{"spanId": "s9", "turnId": "t9", "reason": "retries"}],
    }  # fmt: skip
    assert closed.to_json_dict() == whole | chat | {
        "kind": "span-close", "timestamp": now_ms + 4, "durationMs": 3, "status": "ok", "body": "the answer",
        "attributes": {"tokens": 12, "cost": 0.5},
    }  # fmt: skip
    assert store.easy_view("t1").splitlines() == [
        '- chat 3ms {model="m-1", is_new=true, none=null} [body 10b]',
        "  - [warn] slow [body 3b]",
        "  - tool.call 1ms [body 2b] -> t9/s9 (retries)",
    ]


def test_the_four_levels_and_one_that_is_none(recorder, journal):
    recorder.debug("a")
    recorder.info("b")
    recorder.warn("c")
    recorder.error("d")
    recorder.log("e", "warn")
    recorder.log("f", "loud")
    recorder.log("g", [])
    recorder.flush()
    said = [(record["msg"], record["level"], record.get("attributes")) for record in journal.records()]
    assert said == [
        ("a", "debug", None), ("b", "info", None), ("c", "warn", None), ("d", "error", None), ("e", "warn", None),
        ("f", "info", {"level": "loud"}), ("g", "info", {"level": "[]"}),
    ]  # fmt: skip


def test_an_attribute_may_have_the_name_of_a_parameter(recorder, journal):
    recorder.info("said", msg="another", level="of a river", self="me")
    recorder.flush()
    (record,) = journal.records()
    assert record["msg"] == "said"
    assert record["attributes"]["msg"] == "another"
    assert record["attributes"]["self"] == "me"


def test_children_share_the_segment_and_each_says_where_it_is(recorder, journal):
    turn = recorder.child(conversation_id="c", turn_id="t")
    turn.child(extension_id="other", parent_span_id="s").info("in a span")
    turn.child(turn_id="t2").info("in another turn")
    recorder.info("nowhere")
    recorder.flush()
    inside, other, nowhere = journal.records()
    assert (inside["extensionId"], inside["conversationId"], inside["turnId"], inside["spanId"]) == (
        "other", "c", "t", "s",
    )  # fmt: skip
    assert (other["conversationId"], other["turnId"]) == ("c", "t2")
    assert not {"conversationId", "turnId", "spanId"} & nowhere.keys()
    assert len(journal.segments()) == 1


def test_two_events_that_read_alike_are_two(recorder_of, journal, collected, now_ms):
    recorder = recorder_of(journal.path, clock=Clock(now_ns=lambda: now_ms * 1_000_000), turn_id="t")
    for _ in range(5):
        recorder.info("retry")
    assert len(collected(recorder).get_turn("t")) == 5


class Broken:
    """Fails whatever it is asked."""

    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


class BrokenFloat(float):
    def __float__(self):
        raise ValueError("no number")


class BrokenInt(int):
    def __int__(self):
        raise ValueError("no number")


class BrokenMapping(dict):
    def items(self):
        raise ValueError("no items")


class Text(str):
    """A text of another type."""


class SaysText:
    def __str__(self):
        return Text("said")


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    rest: object


def cycle():
    found = []
    found.append(found)
    return found


def deep(levels):
    found = []
    for _ in range(levels):
        found = [found]
    return found


ODD = {
    "nothing": None, "not a number": float("nan"), "infinity": float("-inf"), "surrogate": "\ud800",
    "bytes": b"\xff\x00", "dataclass": Point(1, Broken()), "huge": 10**5000, "2**70": 2**70, "2**64": -(2**64),
    "cycle": cycle(), "deep": deep(950), "deeper": deep(2000), "deepest": deep(10_000),
    "broken": Broken(), "broken float": BrokenFloat(1.5), "broken int": BrokenInt(3),
    "broken mapping": BrokenMapping(a=1), "text": Text("x"), "says text": SaysText(), "enum": Color.RED,
    "set": {1}, "range": range(3), "class": Broken, "function": cycle, "complex": 1j, "odd names": {(1, 2): 3},
    "2,000 attributes": {f"n{n}": n for n in range(2000)}, "1 MB": "x" * 1_000_000,
    "long name": {"n" * 2_000_000: 1}, "control": "\0\n\r\x1b[0m\u2028", "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
def test_a_value_of_any_kind_is_recorded_wherever_it_stands(value, recorder, journal, collected):
    child = recorder.child(extension_id=value, conversation_id=value, turn_id=value, parent_span_id=value)
    repr(child)
    child.info("m", value=value)
    recorder.info(value, body=value)
    recorder.log("m", value)
    with recorder.span(value, value, value) as span:
        span.set_attributes(value)
        span.set_attributes(value=value)
        span.add_link(value, value, value)
        span.end(value, value, value)
    store = collected(recorder)
    assert recorder.dropped == {}
    lines = len(journal.records())
    assert lines >= 5
    assert store.sql("SELECT count(*) FROM records").fetchone() == (lines,)


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (float("nan"), "NaN"), (10**400, hex(10**400)), (2**70, 2**70), (b"ab", "YWI="), ([1, "a"], '[1,"a"]'),
        (Point(1, None), '{"x":1,"rest":null}'), (Color.RED, "red"), (BrokenInt(3), 3), (BrokenFloat(1.5), 1.5),
        (Broken(), "<Broken>"), (SaysText(), "said"), (Text("x"), "x"), (True, True),
        ({"a": Broken()}, '{"a":"<Broken>"}'),
    ],
)  # fmt: skip
def test_what_becomes_of_values_as_attributes(value, recorded, recorder, journal):
    recorder.info("m", value=value)
    recorder.flush()
    (record,) = journal.records()
    found = record["attributes"]["value"]
    assert (found, type(found)) == (recorded, type(recorded))


def test_a_number_of_numpy_is_a_number(recorder, journal):
    numpy = pytest.importorskip("numpy")
    recorder.info("m", double=numpy.float64(0.5), array=numpy.array([1, 2]))
    recorder.flush()
    assert journal.records()[0]["attributes"]["double"] == 0.5


def test_too_many_and_too_long_attributes_become_bodies(recorder, collected):
    turn = recorder.child(turn_id="t")
    turn.info("many", **{f"n{n:04}": n for n in range(2000)})
    turn.info("long", text="x" * 1_000_000)
    store = collected(recorder)
    many, rest, long, text = store.get_turn("t")
    store.fetch_bodies([rest, text])
    assert len(many.attributes) == 901
    assert many.attributes["more_attributes"] == f"body:{rest.body_digest}"
    assert len(rest.body) > 1100 * len('"n0000":0')
    assert long.attributes["text"] == f"body:{text.body_digest}"
    assert text.body == "x" * 1_000_000


@pytest.mark.parametrize("text", ["x", "é", '"'])
def test_of_a_record_with_too_large_a_body_the_rest_is_recorded(text, recorder, journal):
    body = text * (BODY_LIMIT_BYTES // len(text.encode()))  # too large together with the rest of its line
    recorder.info("m", body=body, a=1)
    recorder.flush()
    record, told = sorted(journal.records(), key=lambda record: "dropped" in record["attributes"])
    assert "body" not in record
    assert record["attributes"] == {"a": 1, "body_dropped_bytes": len(body.encode())}
    assert told["attributes"] == {"dropped": 1, "dropped.too_large": 1}
    assert recorder.dropped == {"too_large": 1}


def test_a_record_too_large_without_a_body_is_dropped_and_counted(recorder, journal, until):
    recorder.info("m" * (BODY_LIMIT_BYTES + 1))
    until(lambda: journal.told_drops() == 1)
    assert recorder.dropped == {"too_large": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"extension_id": ""}, {"extension_id": None}, {"fsync": "often"},
        {"queue_bytes": 0}, {"queue_bytes": "64MB"}, {"redaction": ["email"]},
    ],
)
def test_a_wrong_argument_is_said_at_once(options, tmp_path):
    with pytest.raises(InputInvalid, match="wanted"):
        Recorder(tmp_path, **({"extension_id": "app"} | options))


def test_a_handler_into_what_does_not_record_is_refused_at_once():
    with pytest.raises(InputInvalid, match="into: wanted a Recorder or a Span, found 'journal'"):
        JournalHandler("journal")


@pytest.mark.parametrize("path", ["a\0b", None, 7])
def test_a_path_that_no_file_system_can_name_is_said_at_once(path):
    with pytest.raises(InputInvalid, match="path: wanted a directory"):
        Recorder(path, extension_id="app")


def test_objects_of_pydantic_are_recorded_as_what_they_hold(recorder, journal):
    pydantic = pytest.importorskip("pydantic")
    answer = pydantic.create_model("Answer", text=(str, ...), password=(str, ...))
    given = answer(text="hi", password="hunter22")
    recorder.info("m", body=given, answers=[given])
    recorder.flush()
    (record,) = journal.records()
    assert json.loads(record["body"]) == {"text": "hi", "password": "hunter22"}
    assert json.loads(record["attributes"]["answers"]) == [{"text": "hi", "password": "h…redacted…2"}]


def test_the_journal_stays_where_it_was_when_the_application_changes_its_directory(recorder_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorder = recorder_of("here/journal")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir("there")
    recorder.info("m")
    assert recorder.flush()
    assert len(list((tmp_path / "here" / "journal").iterdir())) == 1


def test_capture_imports_neither_what_is_of_a_store_nor_what_it_records(python):
    names = "tracestore.capture.CaptureTransport, tracestore.capture.JournalHandler"  # loaded when they are asked for
    code = f"import sys, tracestore.capture; {names}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    imported = set(python("-c", code).stdout.split())
    assert "msgspec" in imported
    assert not imported & {"duckdb", "arro3", "blobs", "httpx", "httpx2", "openai", "anthropic", "opentelemetry"}


def test_close_lets_the_segment_go_and_a_later_record_starts_another(recorder, journal):
    recorder.info("one")
    assert recorder.close()
    assert recorder.close()
    recorder.info("two")
    assert recorder.close()
    assert [len(path.read_bytes().splitlines()) for path in journal.segments()] == [1, 1]
    with recorder:
        recorder.info("three")
    assert journal.messages() == ["one", "two", "three"]


@pytest.fixture
def logger(recorder):
    """A library's logger, apart from the test runner's, whose handlers raise what they cannot show."""
    logger = logging.Logger("library.of.somebody", logging.DEBUG)
    logger.addHandler(JournalHandler(recorder.child(turn_id="t")))
    return logger


def test_what_libraries_log_is_recorded(logger, recorder, journal):
    logger.debug("a %s", 1)
    logger.info("b", extra={"request": {"id": 7}})
    logger.warning("c")
    logger.error("d")
    logger.critical("e")
    logger.log(25, "f")
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("g")
    recorder.flush()
    *said, failed = journal.records()
    assert [(record["msg"], record["level"]) for record in said] == [
        ("a 1", "debug"), ("b", "info"), ("c", "warn"), ("d", "error"), ("e", "error"), ("f", "info"),
    ]  # fmt: skip
    assert all(record["turnId"] == "t" for record in said)
    assert said[1]["attributes"] == {
        "request": '{"id":7}', "logger": "library.of.somebody", "code.file.path": __file__,
        "code.line.number": said[1]["attributes"]["code.line.number"],
    }  # fmt: skip
    assert failed["attributes"]["error.type"] == "KeyError"
    assert failed["body"].startswith("Traceback")
    assert failed["body"].endswith("KeyError: 'lost'\n")


def test_a_stack_that_was_asked_for_is_the_body_behind_a_traceback(logger, recorder, journal):
    logger.info("where", stack_info=True)
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("both", stack_info=True)
    recorder.flush()
    where, both = (record["body"] for record in journal.records())
    assert where.startswith("Stack (most recent call last):")
    assert where.splitlines()[-1].strip().startswith("logger.info(")
    assert "\nKeyError: 'lost'\nStack (most recent call last):" in both


def test_a_message_that_does_not_fit_its_arguments_is_recorded_as_it_is(logger, recorder, journal):
    logger.info("%d of %d", "one")
    logger.info(Broken())
    logger.info("names of ours", extra={"body": 1, "level": 2, "logger": 3})
    recorder.flush()
    assert journal.messages() == ["%d of %d", "<Broken>", "names of ours"]
    assert journal.records()[-1]["attributes"]["body"] == 1


def test_a_warning_of_ours_does_not_come_back(recorder, journal, caplog, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [*root.handlers, JournalHandler(recorder)])
    recorder.info("m" * (BODY_LIMIT_BYTES + 1))
    logging.getLogger("another").warning("comes")
    recorder.flush()
    assert "a record is dropped: over 32 MiB" in caplog.text
    assert {record["msg"] for record in journal.records()} == {"records were dropped", "comes"}
