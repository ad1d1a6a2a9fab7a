"""What people query: spans, requests, turns and conversations; promoted attributes."""

import datetime

import pytest

from tracestore.database.promoted import COLUMNS, promote


def test_a_span_is_joined_from_its_halves(memory_store, make, now_ms):
    about = {"turnId": "t", "conversationId": "c", "parentSpanId": "p"}
    memory_store.insert_records([
        make.opened("s", now_ms, "call", **about, body="request", attributes={"model": "m-1", "tool": "search"}),
        make.closed("s", now_ms + 250, "call", **about, durationMs=250.5, status="error", body="response!",
                    attributes={"inputTokens": 10, "outputTokens": 3, "cacheReadTokens": 7}),
    ])  # fmt: skip
    (span,) = memory_store.sql("SELECT * FROM spans").dicts()
    start = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC).replace(tzinfo=None)
    assert span["started_at"] == start
    assert span["ended_at"] == start + datetime.timedelta(milliseconds=250)
    assert (span["duration_ms"], span["status"], span["name"]) == (250.5, "error", "call")
    assert (span["turn_id"], span["conversation_id"], span["parent_span_id"]) == ("t", "c", "p")
    assert (span["model"], span["tool"]) == ("m-1", "search")
    assert (span["input_tokens"], span["output_tokens"], span["cache_read_tokens"]) == (10, 3, 7)
    assert (span["open_body_size_bytes"], span["close_body_size_bytes"]) == (7, 9)
    assert memory_store.get_body(span["open_body_digest"]) == b"request"
    assert memory_store.get_body(span["close_body_digest"]) == b"response!"


def test_a_span_without_a_close_is_open_and_one_without_an_open_starts_its_duration_earlier(memory_store, make, now_ms):
    memory_store.insert_records([make.opened("o", turnId="t"), make.closed("c", turnId="t", durationMs=1000)])
    spans = {span["span_id"]: span for span in memory_store.sql("SELECT * FROM spans").dicts()}
    assert (spans["o"]["status"], spans["o"]["ended_at"], spans["o"]["duration_ms"]) == ("open", None, None)
    assert spans["c"]["ended_at"] - spans["c"]["started_at"] == datetime.timedelta(seconds=1)


@pytest.mark.parametrize("duration_ms", [1e300, -1e300, 2**60, -5])
def test_one_senseless_duration_does_not_break_the_view_for_all(memory_store, make, duration_ms):
    memory_store.insert_records([make.closed("s", turnId="t", durationMs=duration_ms)])
    for view in ("spans", "requests", "turns", "conversations"):
        memory_store.sql(f"SELECT * FROM {view}")


def test_senseless_token_counts_do_not_break_the_views_for_all(memory_store, make):
    huge = {"model": "m", "inputTokens": 2**63 - 1, "outputTokens": 2**63 - 1, "cacheReadTokens": 2**63 - 1}
    memory_store.insert_records([
        make.closed(f"s{n}", turnId=f"t{n % 3}", conversationId="c", attributes=huge) for n in range(6)
    ])  # fmt: skip
    for view in ("spans", "requests", "turns", "conversations"):
        assert memory_store.sql(f"SELECT * FROM {view}").rows


@pytest.mark.parametrize("step", [1, -1], ids=["as_recorded", "close_first"])
def test_a_span_names_the_model_that_answered_and_else_the_one_that_was_asked(memory_store, make, step):
    records = []
    for span_id in ("s1", "s2"):
        records.append(make.opened(span_id, turnId="t", attributes={"provider": "openai", "model": "gpt-4o"}))
        answered = {"model": "gpt-4o-2024-08-06"} if span_id == "s1" else {"outputTokens": 1}
        records.append(make.closed(span_id, turnId="t", attributes=answered))
    memory_store.insert_records(records[::step])
    rows = memory_store.sql("SELECT provider, model FROM requests ORDER BY span_id").rows
    assert rows == [("openai", "gpt-4o-2024-08-06"), ("openai", "gpt-4o")]


def test_requests_are_the_spans_with_a_model(memory_store, make):
    memory_store.insert_records([
        make.opened("r", turnId="t", attributes={"gen_ai.request.model": "m-1", "gen_ai.system": "acme"}),
        make.closed("r", turnId="t", attributes={"gen_ai.usage.input_tokens": 9}),
        *make.turn("other"),
    ])  # fmt: skip
    (request,) = memory_store.sql("SELECT * FROM requests").dicts()
    assert (request["span_id"], request["model"], request["provider"]) == ("r", "m-1", "acme")
    assert (request["latency_ms"], request["input_tokens"], request["status"]) == (100, 9, "ok")


def test_turns_tell_what_happened(memory_store, make, now_ms):
    memory_store.insert_records([
        *make.turn("fine", now_ms, request="12345", response="123"),
        *make.turn("failed", now_ms + 1000)[:2],
        make.closed("s-failed", now_ms + 1100, turnId="failed", conversationId="c-failed", status="error"),
        make.opened("s-crashed", now_ms + 2000, turnId="crashed", conversationId="c-fine"),
        make.log(turnId=None, msg="outside of any turn"),
    ])  # fmt: skip
    turns = {turn["turn_id"]: turn for turn in memory_store.sql("SELECT * FROM turns").dicts()}
    assert {turn_id: turn["status"] for turn_id, turn in turns.items()} == {
        "fine": "ok", "failed": "error", "crashed": "open",
    }  # fmt: skip
    fine = turns["fine"]
    assert (fine["records"], fine["spans"], fine["errors"], fine["duration_ms"]) == (3, 1, 0, 100)
    assert (fine["name"], fine["body_bytes"], fine["conversation_id"]) == ("step", 8, "c-fine")
    assert turns["failed"]["errors"] == 1


def test_an_error_in_a_log_makes_its_turn_an_error(memory_store, make):
    memory_store.insert_records([*make.turn("t"), make.log(turnId="t", level="error", msg="broken")])
    assert memory_store.sql("SELECT status FROM turns").rows == [("error",)]


def test_conversations_sum_up_their_turns(memory_store, make, now_ms):
    for n, status in enumerate(("ok", "error")):
        about = {"turnId": f"t{n}", "conversationId": "c"}
        memory_store.insert_records([
            make.opened(f"s{n}", now_ms + n * 1000, **about, attributes={"model": "m", "inputTokens": 5}),
            make.closed(f"s{n}", now_ms + n * 1000 + 10, **about, status=status, attributes={"model": "m"}),
        ])  # fmt: skip
    (conversation,) = memory_store.sql("SELECT * FROM conversations").dicts()
    wanted = {"conversation_id": "c", "turns": 2, "records": 4, "requests": 2, "errors": 1, "status": "error"}
    assert {name: conversation[name] for name in wanted} == wanted
    assert conversation["input_tokens"] == 10


def test_bodies_say_what_became_of_them(memory_store, make):
    memory_store.insert_records([make.log(msg=str(n), body="shared") for n in range(3)])
    (body,) = memory_store.sql("SELECT size_bytes, state FROM bodies").rows
    assert body == (6, "present")


@pytest.mark.parametrize(
    ("attributes", "columns"),
    [
        ({"model": "m", "inputTokens": 1, "cacheCreationTokens": 4},
         {"model": "m", "input_tokens": 1, "cache_write_tokens": 4}),
        (
            {"gen_ai.provider.name": "p", "gen_ai.response.model": "exact", "gen_ai.request.model": "asked",
             "gen_ai.usage.output_tokens": 2, "gen_ai.tool.name": "search"},
            {"provider": "p", "model": "exact", "output_tokens": 2, "tool": "search"},
        ),
        ({"gen_ai.request.model": "asked", "gen_ai.response.model": "exact"}, {"model": "exact"}),
        ({"llm.model_name": "m", "llm.token_count.prompt": 3, "llm.token_count.completion": 4},
         {"model": "m", "input_tokens": 3, "output_tokens": 4}),
        ({"llm.request.model": "m", "llm.usage.prompt_tokens": 3}, {"model": "m", "input_tokens": 3}),
        ({"toolName": "bash"}, {"tool": "bash"}),
        ({"model": 5, "inputTokens": "many", "outputTokens": True, "cacheReadTokens": -1, "tool": None}, {}),
        ({"inputTokens": 2**63}, {}),
        ({"model": None, "llm.model_name": "m"}, {"model": "m"}),
        (None, {}),
    ],
)  # fmt: skip
def test_attributes_of_every_convention_fill_the_columns(attributes, columns):
    assert promote(attributes) == columns


def test_every_promoted_column_is_one_of_the_table(memory_store):
    names = {column for view, column, _ in memory_store.schema() if view == "records"}
    assert set(COLUMNS) <= names
