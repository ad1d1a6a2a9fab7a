"""list, view, show, body and stats over a store with four kinds of content."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blobs import Digest
from tracestore import RetentionPolicy, TraceStore

Cli = Callable[..., Any]
BINARY_BODY = b"\x89PNG\r\n\x1a\n\x00\xff"


def ids(output: str) -> list[str]:
    return [line.split("\t")[0] for line in output.splitlines()[1:]]


def test_list_shows_conversations_above_their_turns_newest_first(cli: Cli, filled: Path) -> None:
    result = cli("list", "--store", filled)

    assert result.exit_code == 0
    assert ids(result.stdout) == ["c-2", "  t-open", "  t-error", "c-well", "  well"]
    error_line = next(line for line in result.stdout.splitlines() if line.startswith("  t-error"))
    assert "2026-03-02T01:13:47Z" in error_line
    assert error_line.split("\t")[2:] == ["1.5s", "error", "provider.request", "1", "1", "12+3", "10b"]


def test_list_escapes_what_names_hold(cli: Cli, filled: Path) -> None:
    assert "tool.call\\nof \\x1b[31mtwo" in cli("list", "--store", filled).stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--turns"], ["t-open", "t-error", "well"]),
        (["--turns", "-n", "1"], ["t-open"]),
        (["--conversations"], ["c-2", "c-well"]),
        (["--conversations", "--limit", "1"], ["c-2"]),
        (["--status", "error"], ["c-2", "  t-error"]),
        (["--status", "open", "--turns"], ["t-open"]),
        (["--status", "ok"], ["c-well", "  well"]),
        (["--conversation", "c-well"], ["c-well", "  well"]),
        (["--conversation", "c-none"], []),
        (["--since", "2026-03-02T01:13:30", "--turns"], ["t-open", "t-error"]),
        (["--since", "2026-03-02T02:14:30+01:00", "--turns"], ["t-open"]),
        (["--since", "2026-03-01", "--turns"], ["t-open", "t-error", "well"]),
        (["--since", "1h"], []),
    ],
)
def test_list_finds_what_is_asked_for(cli: Cli, filled: Path, arguments: list[str], expected: list[str]) -> None:
    result = cli("list", "--store", filled, *arguments)

    assert result.exit_code == 0
    assert ids(result.stdout) == expected


def test_list_since_a_duration_counts_back_from_now(cli: Cli, tmp_path: Path, make: Any) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    with TraceStore(tmp_path / "fresh") as store:
        store.insert_records(make.turn("fresh", now_ms - 600_000) + make.turn("stale", now_ms - 7_200_000))

    assert ids(cli("list", "--turns", "--since", "1h", "--store", tmp_path / "fresh").stdout) == ["fresh"]


def test_list_as_json_has_every_figure(cli: Cli, filled: Path) -> None:
    conversation, _, turn = json.loads(cli("list", "--json", "--conversation", "c-2", "--store", filled).stdout)

    assert conversation["level"] == "conversation"
    assert (conversation["turns"], conversation["records"], conversation["errors"]) == (2, 3, 1)
    assert turn == {
        "level": "turn",
        "id": "t-error",
        "conversation_id": "c-2",
        "name": "provider.request",
        "started_at": "2026-03-02T01:13:47.075000Z",
        "ended_at": "2026-03-02T01:13:48.575000Z",
        "duration_ms": 1500.0,
        "status": "error",
        "turns": 1,
        "records": 2,
        "requests": 1,
        "errors": 1,
        "input_tokens": 12,
        "output_tokens": 3,
        "body_bytes": 10,
    }


def test_a_turn_without_a_conversation_is_listed_alone(cli: Cli, tmp_path: Path, make: Any, now_ms: int) -> None:
    with TraceStore(tmp_path / "s") as store:
        store.insert_records([make.log(now_ms, turnId="alone")])

    assert ids(cli("list", "--store", tmp_path / "s").stdout) == ["alone"]


def test_turns_without_a_conversation_are_no_group(cli: Cli, tmp_path: Path, make: Any, now_ms: int) -> None:
    with TraceStore(tmp_path / "s") as store:
        store.insert_records([
            make.log(now_ms - 3000, turnId="oldest"),
            make.log(now_ms - 2000, turnId="middle", conversationId="c"),
            make.log(now_ms - 1000, turnId="newest"),
        ])  # fmt: skip

    assert ids(cli("list", "--store", tmp_path / "s").stdout) == ["newest", "c", "  middle", "oldest"]


def test_an_empty_store_lists_nothing(cli: Cli, tmp_path: Path) -> None:
    TraceStore(tmp_path / "s").close()

    assert cli("list", "--store", tmp_path / "s").stdout == ""
    assert cli("list", "--json", "--store", tmp_path / "s").stdout == "[]\n"
    assert "nothing stored yet" in cli("stats", "--store", tmp_path / "s").stdout


def test_view_is_the_easy_view(cli: Cli, filled: Path) -> None:
    result = cli("view", "well", "--store", filled)

    assert result.stdout == "- step 100ms [body 5b]\n  - in well\n"
    assert json.loads(cli("view", "well", "--json", "--store", filled).stdout) == {
        "turn_id": "well",
        "lines": ["- step 100ms [body 5b]", "  - in well"],
    }


def test_a_turn_of_closes_alone_is_known_and_empty(cli: Cli, tmp_path: Path, make: Any, now_ms: int) -> None:
    with TraceStore(tmp_path / "s") as store:
        store.insert_records([make.closed("s1", now_ms, turnId="t")])

    result = cli("view", "t", "--store", tmp_path / "s")

    assert (result.exit_code, result.stdout) == (0, "")


def test_show_prints_every_field_of_all_records_of_a_span(cli: Cli, filled: Path) -> None:
    opened, closed = cli("show", "s-error", "--store", filled).stdout.split("\n\n")

    assert "time: 2026-03-02T01:13:47.075Z" in opened
    assert 'attributes: {"model": "m-1"}' in opened
    assert "body_state" not in opened
    assert "duration_ms: 1500" in closed
    assert "status: error" in closed
    assert "body_state: present" in closed
    assert "body_size_bytes: 10" in closed
    assert f"body_digest: {Digest.of(BINARY_BODY).hex()}" in closed


def test_show_prints_a_body_as_text_that_cannot_drive_the_terminal(cli: Cli, filled: Path, make: Any) -> None:
    with TraceStore(filled) as store:
        store.insert_records([make.log(spanId="s-text", body="one\ntwo \x1b[2J\n")])

    plain = cli("show", "s-text", "--store", filled).stdout
    with_body = cli("show", "s-text", "--body", "--store", filled).stdout

    assert "one" not in plain
    assert with_body.endswith("body:\none\ntwo \\x1b[2J\n\n")
    assert "10 bytes that are not text" in cli("show", "s-error", "--body", "--store", filled).stdout


def test_show_as_json_has_the_body_only_when_asked(cli: Cli, filled: Path, record_id: Callable[[str], str]) -> None:
    wanted = record_id("body_size_bytes = 10")

    (plain,) = json.loads(cli("show", wanted, "--json", "--store", filled).stdout)
    (with_body,) = json.loads(cli("show", wanted, "--body", "--json", "--store", filled).stdout)

    assert plain["record_id"] == wanted
    assert plain["timestamp_ns"] == 1772414028575000000
    assert "body" not in plain
    assert base64.b64decode(with_body["body"]) == BINARY_BODY
    assert with_body["body_encoding"] == "base64"


def test_body_writes_the_exact_bytes_and_nothing_else(
    cli: Cli, filled: Path, record_id: Callable[[str], str]
) -> None:
    by_record = cli("body", record_id("body_size_bytes = 10"), "--store", filled)
    by_digest = cli("body", Digest.of(BINARY_BODY).hex().upper(), "--store", filled)

    assert by_record.stdout_bytes == by_digest.stdout_bytes == BINARY_BODY
    assert by_record.stderr == ""


def test_body_as_json_says_how_it_is_encoded(cli: Cli, filled: Path, record_id: Callable[[str], str]) -> None:
    binary = json.loads(cli("body", Digest.of(BINARY_BODY).hex(), "--json", "--store", filled).stdout)
    text = json.loads(cli("body", Digest.of(b"short").hex(), "--json", "--store", filled).stdout)

    assert base64.b64decode(binary["body"]) == BINARY_BODY
    assert (binary["body_encoding"], binary["size_bytes"]) == ("base64", 10)
    assert text == {
        "digest": Digest.of(b"short").hex(), "size_bytes": 5, "body_encoding": "utf-8", "body": "short",
    }  # fmt: skip


def test_a_body_that_is_gone_exits_with_5_and_says_why(
    cli: Cli, filled: Path, record_id: Callable[[str], str], make: Any
) -> None:
    lost = Digest.of(b"short").hex()
    (filled / "blobs" / "objects" / lost[:2] / f"{lost}.gz").unlink()
    result = cli("body", lost, "--store", filled)
    assert result.exit_code == 5
    assert "is lost" in result.stderr

    with TraceStore(filled) as store:
        store.insert_records([make.log(body="short")])
        store.prune(RetentionPolicy(max_total_body_bytes=0))
    result = cli("body", lost, "--store", filled)
    assert result.exit_code == 5
    assert "was evicted" in result.stderr
    assert "body_state: evicted" in cli("show", "s-error", "--store", filled).stdout

    result = cli("body", record_id("kind = 'log' AND body_digest IS NULL"), "--store", filled)
    assert result.exit_code == 5
    assert "has no body" in result.stderr


def test_a_damaged_body_is_never_written(cli: Cli, filled: Path) -> None:
    digest = Digest.of(BINARY_BODY).hex()
    path = filled / "blobs" / "objects" / digest[:2] / f"{digest}.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)

    result = cli("body", digest, "--store", filled)

    assert result.exit_code == 3
    assert result.stdout_bytes == b""
    assert "verify" in result.stderr


def test_stats_as_json_has_every_figure(cli: Cli, filled: Path) -> None:
    stats = json.loads(cli("stats", "--json", "--store", filled).stdout)

    assert (stats["records"], stats["turns"], stats["conversations"]) == (7, 3, 2)
    assert (stats["bodies"], stats["unique_bodies"], stats["blob_files"]) == (3, 3, 4)
    assert stats["body_bytes"] == stats["unique_body_bytes"] > 15
    assert stats["rejected"] == 0
    assert stats["blob_bytes_on_disk"] >= 3 * 512
    assert stats["database_bytes"] == (filled / "records.duckdb").stat().st_size
    assert stats["oldest"] == "2026-03-02T01:12:46.075Z"
    assert stats["newest"] == "2026-03-02T01:14:47.075Z"


def test_stats_for_people_says_what_was_saved(cli: Cli, tmp_path: Path, make: Any, now_ms: int) -> None:
    with TraceStore(tmp_path / "s") as store:
        store.insert_records(make.log(now_ms + n, body="a long prompt " * 10_000) for n in range(10))

    stdout = cli("stats", "--store", tmp_path / "s").stdout

    assert "records      10; turns 0" in stdout
    assert "bodies sent  10, 1.3M" in stdout
    assert "kept once    1, 136.7k" in stdout
    assert "times smaller than sent" in stdout
