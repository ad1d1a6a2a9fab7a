"""What libraries log is in the journal, beside what was recorded, whatever they log."""

import logging
import logging.handlers
import queue
import sys

import pytest

from tracestore.capture import JournalHandler


@pytest.fixture
def recorder(recorder_of, journal):
    return recorder_of(journal.path)


@pytest.fixture
def logger(recorder):
    return logger_into(JournalHandler(recorder))


def logger_into(handler, name="library.part"):
    logger = logging.Logger(name)
    logger.addHandler(handler)
    return logger


@pytest.fixture
def logged(recorder, journal):
    def read():
        assert recorder.flush()
        assert recorder.dropped == {}
        return journal.records()

    return read


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, "debug"), (10, "debug"), (20, "info"), (25, "info"), (30, "warn"), (40, "error"), (50, "error")],
)
def test_levels_become_the_four_of_a_record(number, level, logger, logged):
    logger.log(number, "said")
    assert [(record["level"], record["msg"]) for record in logged()] == [(level, "said")]


def test_a_message_says_who_logged_it_and_where_and_what_was_added(logger, logged):
    logger.info("%s of %d", "one", 2, extra={"request": "r1", "nested": {"a": [1]}, "count": 3})
    [record] = logged()
    assert record["msg"] == "one of 2"
    attributes = record["attributes"]
    assert attributes.pop("code.file.path") == __file__
    assert isinstance(attributes.pop("code.line.number"), int)
    assert attributes == {"logger": "library.part", "request": "r1", "nested": '{"a":[1]}', "count": 3}


def test_an_exception_becomes_the_body(logger, logged):
    try:
        raise ValueError("what")
    except ValueError:
        logger.exception("failed")
    [record] = logged()
    assert (record["level"], record["attributes"]["error.type"]) == ("error", "ValueError")
    assert record["body"].startswith("Traceback")
    assert record["body"].endswith("ValueError: what\n")


def test_a_stack_that_was_asked_for_becomes_the_body(logger, logged):
    logger.info("here", stack_info=True)
    [record] = logged()
    assert "test_a_stack_that_was_asked_for" in record["body"]


class Unsayable:
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("msg", "arguments"), [("%d", ("x",)), ("%s", (Unsayable(),)), ("%s %s", ("one",)), (Unsayable(), ()), ("%", (1,))]
)
def test_a_message_that_cannot_be_formatted_is_recorded_and_never_raises(msg, arguments, logger, logged):
    logger.warning(msg, *arguments)
    assert [record["level"] for record in logged()] == ["warn"]


@pytest.mark.parametrize("name", ["body", "level", "self", "attributes", "logger", "error.type", "kind"])
def test_extras_of_any_name_are_recorded(name, logger, logged):
    logger.info("said", extra={name: "mine", "other": Unsayable()})
    [record] = logged()
    assert (record["level"], record["msg"], record["kind"]) == ("info", "said", "log")
    assert name == "logger" or record["attributes"][name] == "mine"


def test_a_record_that_somebody_made_is_recorded(recorder, logged):
    made = logging.makeLogRecord({"msg": "made", "levelno": 30, "exc_info": (None, None, None)})
    JournalHandler(recorder).handle(made)
    assert [(record["level"], record["msg"]) for record in logged()] == [("warn", "made")]


def test_what_capture_itself_logs_does_not_come_back(recorder, logged):
    handler = JournalHandler(recorder)
    for name in ("tracestore", "tracestore.capture"):
        logger_into(handler, name).warning("a record is dropped")
    logger_into(handler, "tracestore_client").warning("of another")
    assert [record["msg"] for record in logged()] == ["of another"]


def test_the_handlers_own_level_counts(recorder, logged):
    logger = logger_into(JournalHandler(recorder, logging.WARNING))
    logger.info("no")
    logger.warning("yes")
    assert [record["msg"] for record in logged()] == ["yes"]


def test_messages_belong_to_the_span_that_the_handler_was_given(recorder, logged):
    with recorder.span("step") as span:
        logger_into(JournalHandler(span)).info("within")
    log = logged()[1]
    assert (log["msg"], log["spanId"], log["turnId"]) == ("within", span.span_id, span.turn_id)


def test_messages_belong_to_the_span_of_the_context_where_one_is_used(recorder_of, journal):
    recorder = recorder_of(journal.path, in_context=True)
    logger = logger_into(JournalHandler(recorder))
    with recorder.span("step") as span:
        logger.info("within")
    logger.info("behind")
    assert recorder.flush()
    within, behind = (record for record in journal.records() if record["kind"] == "log")
    assert within["spanId"] == span.span_id
    assert "spanId" not in behind


def test_messages_that_come_through_a_queue_are_recorded(recorder, logged):
    waiting = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, JournalHandler(recorder))
    logger = logger_into(logging.handlers.QueueHandler(waiting))
    listener.start()
    try:
        raise ValueError("what")
    except ValueError:
        logger.error("queued %s", "on", exc_info=sys.exc_info(), extra={"a": 1})
    listener.stop()
    [record] = logged()
    assert record["msg"].startswith("queued on")
    assert record["attributes"]["a"] == 1
