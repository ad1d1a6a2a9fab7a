"""The generators of journals: what each kind promises of its records, and the command that writes them."""

import hashlib
import json
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from benchmarks.corpora.chats import Chats
from benchmarks.corpora.coding_agent import CodingAgent
from benchmarks.corpora.journal import Clock, in_order
from benchmarks.corpora.services import Services
from benchmarks.corpora.tool_agent import ToolAgent
from benchmarks.corpora.warming import WARM_EVERY_MS, Warming
from benchmarks.corpus import KINDS, main
from tracestore.record import decode_line

RECORDS = 1_000


@pytest.fixture(scope="module")
def journals():
    return {name: list(kind.make(RECORDS, 1).lines()) for name, kind in KINDS.items()}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def records_of(corpus):
    return [json.loads(line) for line in corpus.lines()]


def calls_of(records, kind):
    return [record for record in records if record.get("name") == "provider.request" and record["kind"] == kind]


def test_the_same_seed_makes_the_same_lines_and_another_seed_others(kind, journals):
    lines = journals[kind]
    assert len(lines) == RECORDS
    assert list(KINDS[kind].make(RECORDS, 1).lines()) == lines
    others = KINDS[kind].make(RECORDS, 2).lines()
    assert [next(others) for _ in range(10)] != lines[:10]


def test_every_line_is_a_record_and_none_is_earlier_than_the_one_before(kind, journals):
    times = [decode_line(line.encode("ascii")).timestamp_ns for line in journals[kind]]
    assert times == sorted(times)


def test_no_span_opens_twice_and_what_closes_was_open(kind, journals):
    spans = defaultdict(list)
    for record in map(json.loads, journals[kind]):
        if record["kind"] != "log":
            spans[record["spanId"]].append((record["kind"], record["name"], record.get("turnId")))
    for opened, *closed in spans.values():
        assert opened[0] == "span-open"
        assert closed in ([], [("span-close", *opened[1:])])


@pytest.mark.parametrize("corpus", [
    Chats(records=2_000, days=0.002), Warming(records=2_000, days=0.002), Services(records=2_000, days=0.00005),
])  # fmt: skip
def test_turns_that_overlap_stand_in_one_order_of_time(corpus):
    """A thousand records of a week hardly overlap; these are of seconds and minutes."""
    records = records_of(corpus)
    times = [record["timestamp"] for record in records]
    assert times == sorted(times)
    turns = [record["turnId"] for record in records if "turnId" in record]
    assert sum(a != b for a, b in pairwise(turns)) > 1.5 * len(set(turns))


def test_a_clock_never_goes_back():
    clock = Clock(1_000)
    clock.wait_until(900)
    assert clock.record("log", {})["timestamp"] == 1_001
    clock.wait_until(2_000)
    assert clock.record("log", {})["timestamp"] == 2_001


def test_a_story_is_asked_for_records_only_when_its_time_has_come():
    asked = []

    def story(number):
        for ms in range(number * 10, number * 10 + 25, 5):
            asked.append(number)
            yield {"timestamp": ms}

    merged = in_order((number * 10, story(number)) for number in range(1_000_000))
    assert [next(merged)["timestamp"] for _ in range(9)] == [0, 5, 10, 10, 15, 15, 20, 20, 20]
    assert max(asked) <= 3


def test_a_chat_has_one_call_a_turn_and_no_tools(journals):
    records = [json.loads(line) for line in journals["chats"]]
    calls = Counter(record["turnId"] for record in calls_of(records, "span-open"))
    assert set(calls.values()) == {1}
    assert len(calls) >= len({record["turnId"] for record in records}) - 1  # the last one is cut off
    turns = Counter(record["conversationId"] for record in records if record.get("name") == "turn")
    assert max(turns.values()) <= 2 * 8
    assert not any("tool" in record.get("attributes", {}) for record in records)


def test_a_chat_sends_a_short_prompt_and_what_was_said_before_and_is_answered_in_events(journals):
    records = [json.loads(line) for line in journals["chats"]]
    said = defaultdict(list)
    for call in calls_of(records, "span-open"):
        body = json.loads(call["body"])
        assert 1_000 < len(body["system"]) < 4_600
        before = said[call["conversationId"]]
        assert body["messages"][: len(before)] == before
        assert len(body["messages"]) == len(before) + (2 if before else 1)
        said[call["conversationId"]] = body["messages"]
    for call in calls_of(records, "span-close"):
        if call["status"] == "error":
            assert json.loads(call["body"])["type"] == "error"
        else:
            assert call["body"].startswith("event: message_start\n")
            assert call["body"].count("event: content_block_delta\n") > 1


def test_a_warming_call_sends_the_request_that_it_is_linked_to_again_byte_for_byte(journals):
    records = [json.loads(line) for line in journals["warming"]]
    opened = {record["spanId"]: record for record in calls_of(records, "span-open")}
    warm = [record for record in opened.values() if "warm" in record["attributes"]]
    real = [record for record in opened.values() if "real" in record["attributes"]]
    assert len(opened) == len(warm) + len(real)
    assert len(warm) > 2.5 * len(real)
    for record in warm:
        (link,) = record["links"]
        assert record["body"] == opened[link["spanId"]]["body"]
        assert record["turnId"] == link["turnId"] == opened[link["spanId"]]["turnId"]
        assert record["attributes"]["maxTokens"] == 1
    assert len({record["body"] for record in real}) == len(real)


def test_a_conversation_is_warmed_before_the_provider_forgets_it(journals):
    warmed = defaultdict(list)
    for record in calls_of(map(json.loads, journals["warming"]), "span-open"):
        if "warm" in record["attributes"]:
            warmed[record["turnId"]].append(record["timestamp"])
    gaps = [b - a for times in warmed.values() for a, b in pairwise(times)]
    assert gaps
    assert min(gaps) >= WARM_EVERY_MS[0]
    assert max(gaps) < 300_000


def test_services_write_logs_of_all_levels_and_no_bodies(journals):
    records = [json.loads(line) for line in journals["services"]]
    logs = [record for record in records if record["kind"] == "log"]
    assert len(logs) > 0.9 * len(records)
    assert {record["level"] for record in logs} == {"debug", "info", "warn", "error"}
    assert len({record["extensionId"] for record in records}) > 5
    assert not any("body" in record or record.get("name") == "provider.request" for record in records)


def test_errors_of_services_come_in_bursts():
    hours = defaultdict(list)
    for record in records_of(Services(records=10_000)):
        if record["kind"] == "log":
            hours[record["extensionId"], record["timestamp"] // 3_600_000].append(record["level"] == "error")
    errors = sorted((sum(of_hour) for of_hour in hours.values()), reverse=True)
    assert sum(errors[: len(errors) // 10]) > sum(errors) / 2


def test_a_coding_agent_of_so_many_records_is_the_week_cut_off_where_it_is_no_longer():
    days = CodingAgent.for_records(100_000)
    assert days.days == 5 * days.conversations // 42 > 5
    assert CodingAgent.for_records(3_000).days == 5
    whole, cut = CodingAgent(conversations=1).lines(), CodingAgent.for_records(50).lines()
    assert list(cut) == [next(whole) for _ in range(50)]


def test_the_tool_agent_that_figures_were_taken_of_is_still_the_same():
    """Without bodies, which are cut from Python's own source and so differ by its version."""
    text = "\n".join(ToolAgent(records=RECORDS).lines())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "4f9b3c610dfba03b"


def test_the_command_writes_what_the_kind_makes_and_says_how_much(tmp_path, capsys, journals):
    path = tmp_path / "chats.ndjson"
    assert main(["chats", "1_000", str(path)]) == 0
    assert path.read_text().splitlines() == journals["chats"]
    assert f"1,000 records, {path.stat().st_size:,} bytes" in capsys.readouterr().out


def test_the_command_does_not_overwrite(tmp_path, capsys):
    path = tmp_path / "precious.ndjson"
    path.write_text("precious")
    assert main(["services", "10", str(path)]) == 1
    assert path.read_text() == "precious"
    assert "File exists" in capsys.readouterr().err


def test_a_journal_that_was_cut_short_does_not_stay(tmp_path, monkeypatch):
    def lines(self):
        yield "{}"
        raise KeyboardInterrupt

    monkeypatch.setattr(Services, "lines", lines)
    with pytest.raises(KeyboardInterrupt):
        main(["services", "10", str(tmp_path / "part.ndjson")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "said"), [
    (["gossip", "10", "x"], "invalid choice: 'gossip' (choose from 'tool-agent'"),
    (["chats", "0", "x"], "wanted a whole number from 1 on, found '0'"),
    (["chats", "many", "x"], "wanted a whole number from 1 on, found 'many'"),
])  # fmt: skip
def test_what_cannot_be_made_is_said(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_help_has_a_line_for_each_kind(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown and kind.about in shown for name, kind in KINDS.items())
