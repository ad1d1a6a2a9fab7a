"""Bad input gets one clear line, the right exit code, and nothing is created."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracestore import TraceStore
from tracestore.cli import failures
from tracestore.cli.reading import stats as stats_command
from tracestore.errors import StoreUnavailable

READING = [
    ("list",),
    ("view", "t"),
    ("show", "s"),
    ("body", "ab" * 32),
    ("query", "SELECT 1"),
    ("query", "--schema"),
    ("verify",),
    ("stats",),
    ("prune", "--max-age", "7d"),
]
Listing = Callable[[Path], list[str]]


def one_line(result: Any) -> str:
    lines: list[str] = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("tracestore: ")
    assert result.stdout == ""
    return lines[0]


@pytest.mark.parametrize("command", READING)
def test_a_mistyped_path_is_an_error_and_makes_nothing(
    cli: Callable[..., Any], command: tuple[str, ...], tmp_path: Path, listing: Listing
) -> None:
    """Seed defect `cli`: a mistyped path created an empty database and exited with 0."""
    before = listing(tmp_path)

    result = cli(*command, "--store", tmp_path / "mistyped")

    assert result.exit_code == 3
    assert "mistyped: wanted a store, found nothing" in one_line(result)
    assert listing(tmp_path) == before


def test_the_default_store_is_in_the_working_directory(cli: Callable[..., Any], tmp_path: Path) -> None:
    assert "tracestore-data: wanted a store" in one_line(cli("list"))
    assert "elsewhere: wanted a store" in one_line(cli("list", env={"TRACESTORE_DIR": str(tmp_path / "elsewhere")}))
    chosen = cli("list", "--store", tmp_path / "chosen", env={"TRACESTORE_DIR": str(tmp_path / "elsewhere")})
    assert "chosen: wanted a store" in one_line(chosen)


@pytest.mark.parametrize("command", READING)
def test_another_directory_or_a_file_is_no_store(
    cli: Callable[..., Any], command: tuple[str, ...], tmp_path: Path, listing: Listing
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    before = listing(tmp_path)

    for place in ("home", "home/letter.txt"):
        result = cli(*command, "--store", tmp_path / place)
        assert result.exit_code == 3
        assert "wanted a store" in one_line(result)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("FORMAT", b"\x00garbage"),
        ("FORMAT", b'{"format": 99, "requires": []}'),
        ("records.duckdb", b"not a database" * 1000),
        ("records.duckdb", b""),
        ("records.duckdb", None),
        ("blobs/FORMAT", b"\x00garbage"),
    ],
)
def test_a_broken_store_is_named_as_broken(
    cli: Callable[..., Any], filled: Path, command: tuple[str, ...], name: str, content: bytes | None, listing: Listing
) -> None:
    if content is None:
        (filled / name).unlink()
    else:
        (filled / name).chmod(0o600)
        (filled / name).write_bytes(content)
    before = listing(filled)

    result = cli(*command, "--store", filled)

    assert result.exit_code == 3, result.stderr
    assert str(filled) in one_line(result)
    assert listing(filled) == before


@pytest.mark.parametrize("command", [("stats",), ("prune", "--max-age", "7d"), ("collect", "--once"), ("list",)])
def test_a_held_store_is_named_with_its_holder(cli: Callable[..., Any], filled: Path, command: tuple[str, ...]) -> None:
    with TraceStore(filled):
        result = cli(*command, "--store", filled)

    assert result.exit_code == 4
    assert "held by process " in one_line(result)


def test_two_readers_share_a_store(cli: Callable[..., Any], filled: Path) -> None:
    with TraceStore(filled, create=False, read_only=True):
        assert cli("stats", "--store", filled).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "SELEC 1"], "syntax error"),
        (["query", "SELECT nope FROM records"], "nope"),
        (["query", "DROP VIEW records"], "read-only"),
        (["query", ""], "one statement"),
        (["query"], "wanted a statement"),
        (["query", "SELECT 1", "--csv", "--json"], "--csv and --json"),
        (["query", "SELECT 1", "--schema"], "--schema"),
        (["prune"], "wanted a rule, found none"),
        (["prune", "--max-age", "soon"], "max_age: wanted a duration"),
        (["prune", "--max-age", ""], "max_age: wanted a duration"),
        (["prune", "--max-body-bytes", "-1"], "max_total_body_bytes: wanted a size"),
        (["list", "--since", "yesterday"], "--since: wanted a duration"),
        (["list", "--since", "300000000w"], "--since: wanted a duration"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--status", "bad"], "--status"),
        (["list", "--turns", "--conversations"], "--turns and --conversations"),
        (["collect", "--once", "--prune-every", "0"], "--prune-every"),
        (["collect", "--once", "--max-age", "7x"], "max_age"),
        (["view"], "Missing argument"),
        (["nope"], "No such command 'nope'; see tracestore --help"),
        (["list", "--nope"], "--nope"),
        (["import"], ""),
    ],
)
def test_bad_usage_and_bad_values_exit_with_2(
    cli: Callable[..., Any], filled: Path, arguments: list[str], said: str
) -> None:
    store = [] if arguments[0] in ("nope", "import") else ["--store", str(filled)]

    result = cli(*arguments, *store)

    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_bad_sql_shows_the_place_that_the_database_points_at(cli: Callable[..., Any], filled: Path) -> None:
    result = cli("query", "SELECT modle FROM requests", "--store", filled)

    assert result.exit_code == 2
    assert result.stderr.startswith('tracestore: query: Binder Error: Referenced column "modle" not found')
    assert "LINE 1: SELECT modle FROM requests" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["view", "t-none"], "no turn 't-none'"),
        (["show", "none"], "no record or span 'none'"),
        (["show", "t-well"], "no record or span 't-well'"),
        (["show", "well"], "it is a turn: tracestore view"),
        (["body", "none"], "neither a record"),
        (["body", "s-well"], "tracestore show lists the records of this span"),
        (["body", "0" * 64], "no body 000"),
        (["body", "00000000-0000-0000-0000-000000000000"], "neither a record"),
    ],
)
def test_an_unknown_id_exits_with_5(cli: Callable[..., Any], filled: Path, arguments: list[str], said: str) -> None:
    result = cli(*arguments, "--store", filled)

    assert result.exit_code == 5
    assert said in one_line(result)


def test_with_json_the_error_is_one_object_on_stderr(cli: Callable[..., Any], tmp_path: Path) -> None:
    result = cli("list", "--json", "--store", tmp_path / "none")

    assert result.exit_code == 3
    assert result.stdout == ""
    error = json.loads(result.stderr)
    assert error["error"] == "StoreNotFound"
    assert error["exit_code"] == 3
    assert "wanted a store" in error["message"]
    assert json.loads(cli("list", "--json", "--nope").stderr)["error"] == "UsageError"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory"),
        (OSError(28, "No space left on device", "/full"), 6, "/full: No space left on device; free some space"),
        (PermissionError(13, "Permission denied", "/x"), 6, "/x: Permission denied"),
        (StoreUnavailable(5, "cannot read: I/O error", "/x/y"), 6, "/x/y: cannot read: I/O error"),
        (StoreUnavailable("the database gave up"), 6, "the database gave up"),
        (ZeroDivisionError("of\nall things"), 1, "unexpected ZeroDivisionError: of\\nall things; please report it"),
    ],
)
def test_what_nobody_expected_is_a_sentence_too(
    cli: Callable[..., Any], filled: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr(stats_command, "open_for_reading", fail)

    result = cli("stats", "--store", filled)

    assert result.exit_code == code
    assert said in one_line(result)


def test_the_traceback_of_the_unexpected_is_there_for_who_asks(
    cli: Callable[..., Any], filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_command, "open_for_reading", lambda path: 1 / 0)

    assert "Traceback" in cli("stats", "--store", filled, env={failures.DEBUG: "1"}).stderr


def test_a_closed_pipe_is_silence(process: Callable[..., Any], filled: Path) -> None:
    many = "SELECT range, repeat('x', 100) FROM range(100000)"
    for form in ([], ["--json"], ["--csv"]):
        one = process("query", many, "--store", filled, *form)
        assert one.stdout.read(10)
        one.stdout.close()
        assert one.wait(60) == 0
        assert one.stderr.read() == ""


def test_a_full_disk_below_stdout_exits_with_6(process: Callable[..., Any], filled: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        one = process("stats", "--store", filled, stdout=full)
        _, stderr = one.communicate(timeout=60)

    assert one.returncode == 6
    assert stderr == "tracestore: No space left on device; free some space, then try again\n"


def test_reading_commands_change_nothing_on_disk(cli: Callable[..., Any], filled: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(filled, before)

    for command in READING[:-1]:
        cli(*command, "--store", filled)

    names = sorted(path.relative_to(filled) for path in filled.rglob("*"))
    assert names == sorted(path.relative_to(before) for path in before.rglob("*"))
    for name in names:
        if (filled / name).is_file():
            assert (filled / name).read_bytes() == (before / name).read_bytes()
