"""Spans: open and close, errors, links, and what goes on in another process."""

import pytest

from tracestore.capture import Clock


def closes(journal):
    return [record for record in journal.records() if record["kind"] == "span-close"]


def test_a_span_is_in_the_journal_before_it_ends(recorder, journal):
    with recorder.span("step") as span:
        recorder.flush()
        (opened,) = journal.records()
    assert (opened["kind"], opened["spanId"], opened["turnId"]) == ("span-open", span.span_id, span.turn_id)


def test_a_span_without_a_turn_begins_one_and_its_children_are_in_it(recorder, journal):
    with recorder.span("first") as first, first.child("inside") as inside:
        inside.info("here")
    with recorder.span("second") as second:
        pass
    recorder.flush()
    assert first.turn_id == inside.turn_id != second.turn_id
    assert {record["turnId"] for record in journal.records()} == {first.turn_id, second.turn_id}


def test_an_exception_that_leaves_is_the_spans_error_and_goes_on(recorder, journal, collected):
    with pytest.raises(KeyError), recorder.child(turn_id="t").span("step"):
        raise KeyError("lost")
    assert collected(recorder).easy_view("t") == '- step 1ms ERR {error.type="KeyError", error.message="\'lost\'"}'


class Empty(Exception):
    """An error that is false, as one with a length may be."""

    def __len__(self):
        return 0


class Silent(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (ValueError("bad"), {"error.type": "ValueError", "error.message": "bad"}),
        (Empty("none left"), {"error.type": "Empty", "error.message": "none left"}),
        (Silent(), {"error.type": "Silent", "error.message": "<Silent>"}),
        (KeyboardInterrupt(), {"error.type": "KeyboardInterrupt", "error.message": ""}),
        ("timed out", {"error.message": "timed out"}),
        (True, None),
        (404, {"error.message": "404"}),
    ],
)
def test_what_is_said_of_an_error(error, attributes, recorder, journal):
    recorder.span("step").end(error)
    recorder.flush()
    (closed,) = closes(journal)
    assert (closed["status"], closed.get("attributes")) == ("error", attributes)


@pytest.mark.parametrize("error", [None, False, ""])
def test_no_error_is_none(error, recorder, journal):
    recorder.span("step").end(error)
    recorder.flush()
    (closed,) = closes(journal)
    assert closed["status"] == "ok"
    assert "attributes" not in closed


def test_a_span_ends_once(recorder, journal):
    with recorder.span("step") as span:
        span.end("timed out")
    span.end()
    recorder.flush()
    assert [record["status"] for record in closes(journal)] == ["error"]


def test_the_last_value_of_an_attribute_counts(recorder, journal):
    with recorder.span("step", {"a": 0}) as span:
        span.set_attributes({"a": 1, "b": 1})
        span.set_attributes(a=2)
        span.set_attributes(None)
        span.end(attributes={"b": 3})
    recorder.flush()
    assert closes(journal)[0]["attributes"] == {"a": 2, "b": 3}


def test_attributes_are_recorded_as_they_were_when_they_were_set(recorder, journal):
    seen = ["first"]
    with recorder.span("step") as span:
        span.set_attributes({"before": seen}, more=seen)
        seen.append("later")
    recorder.flush()
    assert closes(journal)[0]["attributes"] == {"before": '["first"]', "more": '["first"]'}


def test_links_hold_what_is_known(recorder, journal):
    with recorder.span("step") as span:
        span.add_link("s1")
        span.add_link("s2", reason="retries")
    recorder.flush()
    assert closes(journal)[0]["links"] == [{"spanId": "s1"}, {"spanId": "s2", "reason": "retries"}]


def test_a_clock_that_goes_back_makes_no_negative_duration(recorder_of, journal, now_ms):
    times_ns = iter([5_000_000, 1_000_000])
    clock = Clock(now_ns=lambda: now_ms * 1_000_000, elapsed_ns=lambda: next(times_ns))
    recorder = recorder_of(journal.path, clock=clock)
    recorder.span("step").end()
    recorder.flush()
    assert closes(journal)[0]["durationMs"] == 0


def test_a_span_goes_on_in_another_process_by_its_ids(recorder, collected, program):
    with recorder.child(conversation_id="c").span("request") as span:
        worker = program(
            f"""
            there = recorder.child(conversation_id={span.conversation_id!r}, turn_id={span.turn_id!r},
                                   parent_span_id={span.span_id!r})
            there.info("begun")
            with there.span("work"):
                pass
            """,
            "extension_id='worker'",
        )
        assert worker.ended() == ("", 0, "")
    store = collected(recorder)
    records = store.get_turn(span.turn_id)
    assert {record.conversation_id for record in records} == {"c"}
    lines = store.easy_view(span.turn_id).splitlines()
    assert lines[0].startswith("- request")
    assert sorted(line.split()[1] for line in lines if line.startswith("  - ")) == ["begun", "work"]


def test_the_spans_of_a_killed_process_stay_open(program, collected):
    worker = program("""
        with recorder.child(turn_id="t").span("chat") as span, span.child("tool.call"):
            recorder.flush()
            print("there", flush=True)
            input()
    """)
    worker.said("there")
    worker.kill()
    assert collected().easy_view("t") == "- chat (open)\n  - tool.call (open)"
