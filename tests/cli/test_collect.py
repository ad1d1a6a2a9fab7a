"""collect as its users start it: a process with a journal, signals and a second process beside it."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracestore import TraceStore
from tracestore.cli.collect_report import PeopleReport
from tracestore.collector import Collected

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]
SECONDS = 60


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def event(process: "subprocess.Popen[str]", kind: str) -> dict[str, Any]:
    """Read the process's JSON lines up to the next of a kind."""
    assert process.stdout is not None
    for line in process.stdout:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == kind:
            return found
    raise AssertionError(f"no {kind}: {process.stderr and process.stderr.read()}")


def count(store: Path) -> int:
    with TraceStore(store, create=False, read_only=True) as opened:
        row = opened.sql("SELECT count(*) FROM records").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def journal(tmp_path: Path, make: Any) -> Path:
    path = tmp_path / "app.ndjson"
    path.write_bytes(make.lines(5))
    return path


def test_once_collects_what_is_there_and_says_the_sum(
    cli: Cli, tmp_path: Path, journal: Path, make: Any
) -> None:
    with journal.open("ab") as file:
        file.write(make.lines(1) + b'{"kind":"nope"}\nnot json\n{"torn')

    result = cli("collect", "--once", "--journal", journal, "--store", tmp_path / "s")

    assert result.exit_code == 0
    assert result.stdout.startswith("8 records in = 5 inserted + 1 duplicates + 2 rejected; ")
    assert "; 6 bytes of an unfinished line wait" in result.stdout
    rejected = tmp_path / "s" / "journal" / "rejected.ndjson"
    assert f"2 lines are no record; {rejected} has them, and why" in result.stderr
    assert len(rejected.read_text().splitlines()) == 2
    assert count(tmp_path / "s") == 5


def test_once_again_changes_nothing(cli: Cli, tmp_path: Path, journal: Path) -> None:
    cli("collect", "--once", "--journal", journal, "--store", tmp_path / "s")

    result = cli("collect", "--once", "--journal", journal, "--store", tmp_path / "s", "--json")

    (done,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert done["event"] == "done"
    assert (done["records_in"], done["inserted"], done["journal_bytes"]) == (0, 0, 0)
    assert result.stderr == ""


def test_once_reads_a_directory_and_the_default_journal(cli: Cli, tmp_path: Path, make: Any) -> None:
    segments = tmp_path / "segments"
    segments.mkdir()
    (segments / "1.ndjson").write_bytes(make.lines(3))
    (segments / "2.ndjson").write_bytes(make.lines(3, start=3))
    assert cli("collect", "--once", "--journal", segments, "--store", tmp_path / "s").exit_code == 0

    (tmp_path / "s" / "journal" / "app.ndjson").write_bytes(make.lines(4, start=10))
    assert cli("collect", "--once", "--store", tmp_path / "s").exit_code == 0

    assert count(tmp_path / "s") == 10


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--once", "--journal", "none.ndjson"], 2, "--journal: wanted a file or a directory, found nothing"),
        (["--once"], 3, "wanted a store, its journal or --journal, found none"),
        (["--journal", "no/such/parent.ndjson"], 2, "found no no/such"),
        (["--once", "--journal", "/dev/null"], 2, "neither a file nor a directory"),
    ],
)
def test_a_mistyped_journal_makes_no_store(
    cli: Cli, tmp_path: Path, arguments: list[str], code: int, said: str, listing: Callable[[Path], list[str]]
) -> None:
    before = listing(tmp_path)

    result = cli("collect", *arguments, "--store", tmp_path / "s")

    assert result.exit_code == code
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert listing(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_is_there_and_exits_with_0(
    process: Process, tmp_path: Path, journal: Path, make: Any, number: int
) -> None:
    collecting = process("collect", "--json", "--journal", journal, "--store", tmp_path / "s")
    assert event(collecting, "collected")["total_inserted"] == 5
    with journal.open("ab") as file:
        file.write(make.lines(100, start=5))

    collecting.send_signal(number)

    assert event(collecting, "done")["inserted"] == 105
    assert collecting.wait(SECONDS) == 0
    assert collecting.stderr is not None
    assert collecting.stderr.read() == ""
    assert count(tmp_path / "s") == 105


def test_a_signal_ends_a_run_although_the_producer_never_pauses(
    process: Process, tmp_path: Path, journal: Path, make: Any
) -> None:
    collecting = process("collect", "--json", "--journal", journal, "--store", tmp_path / "s")
    event(collecting, "collected")
    producer_lines = 0
    collecting.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + SECONDS
    with journal.open("ab", buffering=0) as file:
        while collecting.poll() is None and time.monotonic() < deadline:
            file.write(make.lines(1, start=5 + producer_lines))
            producer_lines += 1
            time.sleep(0.001)

    assert collecting.poll() == 0


def test_lines_are_stored_while_it_runs_and_a_missing_journal_is_waited_for(
    process: Process, tmp_path: Path, make: Any
) -> None:
    journal = tmp_path / "later.ndjson"
    collecting = process("collect", "--json", "--journal", journal, "--store", tmp_path / "s")
    assert event(collecting, "notice")["notice"] == "waiting"

    journal.write_bytes(make.lines(3))
    assert event(collecting, "collected")["inserted"] == 3
    with journal.open("ab") as file:
        file.write(make.lines(2, start=3) + b'{"torn')
    assert event(collecting, "collected")["total_inserted"] == 5
    assert event(collecting, "torn")["torn_bytes"] == 6

    collecting.send_signal(signal.SIGTERM)
    assert event(collecting, "done")["torn_bytes"] == 6


def test_people_are_told_in_sentences(process: Process, tmp_path: Path, journal: Path) -> None:
    collecting = process("collect", "--journal", journal, "--store", tmp_path / "s")
    assert collecting.stderr is not None
    assert "is new; it is segment 1" in collecting.stderr.readline()
    wait_for((tmp_path / "s" / "records.duckdb").exists, "the database")
    time.sleep(0.3)
    collecting.send_signal(signal.SIGTERM)

    stdout, stderr = collecting.communicate(timeout=SECONDS)

    assert stdout.startswith("5 records in = 5 inserted + 0 duplicates + 0 rejected; ")
    assert stderr == "tracestore: SIGTERM: finishing what is there; once more stops at once\n"


def test_a_second_collector_names_the_first(process: Process, cli: Cli, tmp_path: Path, journal: Path) -> None:
    """Seed defect `collector`: two collectors on one database were "locked" without a word of by whom."""
    first = process("collect", "--json", "--journal", journal, "--store", tmp_path / "s")
    event(first, "collected")

    second = cli("collect", "--journal", journal, "--store", tmp_path / "s")

    assert second.exit_code == 4
    assert f"held by process {first.pid} (tracestore collect --json --journal" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert first.poll() is None


def test_kill_and_restart_lose_and_double_nothing(process: Process, cli: Cli, tmp_path: Path, make: Any) -> None:
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(30_000))
    killed = process("collect", "--json", "--journal", journal, "--store", tmp_path / "s")
    event(killed, "collected")
    killed.kill()
    killed.wait(SECONDS)

    result = cli("collect", "--once", "--journal", journal, "--store", tmp_path / "s")

    assert result.exit_code == 0, result.stderr
    assert count(tmp_path / "s") == 30_000


def test_it_prunes_at_the_start_and_on_the_cadence(process: Process, tmp_path: Path, journal: Path, make: Any) -> None:
    """Seed defect `collector`: restarted more often than its interval it never pruned."""
    rules = ("--max-age", "1d", "--prune-every", "100ms")
    collecting = process("collect", "--json", "--journal", journal, "--store", tmp_path / "s", *rules)

    first, second = event(collecting, "pruned"), event(collecting, "pruned")

    assert first["records_deleted"] + second["records_deleted"] == 5
    collecting.send_signal(signal.SIGTERM)
    assert collecting.wait(SECONDS) == 0


def test_once_prunes_what_it_collected(cli: Cli, tmp_path: Path, journal: Path) -> None:
    variables = {"TRACESTORE_MAX_AGE": "1d"}

    result = cli("collect", "--once", "--journal", journal, "--store", tmp_path / "s", env=variables)

    assert result.exit_code == 0
    assert "deleted 5 records and 0 bodies" in result.stderr
    assert count(tmp_path / "s") == 0


def test_without_a_rule_nothing_is_pruned(cli: Cli, tmp_path: Path, journal: Path) -> None:
    cli("collect", "--once", "--journal", journal, "--store", tmp_path / "s")

    assert count(tmp_path / "s") == 5


def test_a_database_that_is_gone_is_made_anew_and_said(cli: Cli, tmp_path: Path, make: Any) -> None:
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.line(make.log(body="kept " * 100)))
    arguments = ("collect", "--once", "--journal", journal, "--store", tmp_path / "s")
    cli(*arguments)
    (tmp_path / "s" / "records.duckdb").unlink()

    result = cli(*arguments)

    assert "records.duckdb was missing: rebuilt 1 records from the journal" in result.stderr
    assert "0 records in" in result.stdout


def test_the_status_line_says_rate_rejects_and_lag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = PeopleReport(tmp_path / "rejected.ndjson")
    shown: list[str] = []
    report._line.is_shown = True
    monkeypatch.setattr(report._line, "show", shown.append)

    report(Collected(900, 100, 5, 1000, 900, 100, 5, waiting_bytes=3 * 2**20))

    assert shown[-1].startswith("1,005 records, ")
    assert shown[-1].endswith("/s, 5 rejected, 3.0M behind")
