"""`tracestore export`: to a file, to a pipe, of a store at rest and of one that another process holds."""

import json
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tracestore import TraceStore
from tracestore.serve.health import Status
from tracestore.serve.server import Server

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RULES = [(), ("--status", "error"), ("--conversation", "c-2"), ("--since", "2001-01-01"), ("--since", "2100-01-01")]


def lines_of(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout_bytes.splitlines()]


@pytest.fixture
def filled_lines(filled):
    """How many records the store has, and how many of them are in turns."""
    with TraceStore(filled, read_only=True) as store:
        (row,) = store.sql("SELECT count(*), count(turn_id) FROM records").rows
    return row


def test_what_is_exported_can_be_collected_and_is_the_same(cli, filled, tmp_path):
    assert cli("export", "--bodies", "--out", tmp_path / "all.ndjson", "--store", filled).exit_code == 0
    other = tmp_path / "other"
    collected = cli("collect", "--once", "--journal", tmp_path / "all.ndjson", "--store", other)
    assert collected.exit_code == 0, collected.stderr
    query = "SELECT * EXCLUDE (inserted_at, seq) FROM records ORDER BY timestamp, record_id"
    assert cli("query", query, "--store", other).stdout == cli("query", query, "--store", filled).stdout
    view = cli("view", "well", "--store", filled)
    assert cli("view", "well", "--store", other).stdout == view.stdout != ""


@pytest.mark.parametrize("format_", ["ndjson", "parquet"])
@pytest.mark.parametrize("options", [(), ("--bodies",), ("--status", "error"), ("--conversation", "c-2")])
def test_a_store_that_another_process_holds_gives_the_same_bytes(cli, filled, options, format_):
    arguments = ("export", "--format", format_, *options, "--store", filled)
    at_rest = cli(*arguments)
    with TraceStore(filled) as held, Server(held, Status()):
        meanwhile = cli(*arguments)
    assert (meanwhile.exit_code, meanwhile.stdout_bytes) == (0, at_rest.stdout_bytes)
    assert at_rest.stdout_bytes


def test_the_counts_are_the_same_from_a_store_that_another_process_holds(cli, filled, tmp_path):
    arguments = ("export", "--bodies", "--json", "--store", filled, "--out")
    at_rest = cli(*arguments, tmp_path / "at-rest")
    with TraceStore(filled) as held, Server(held, Status()):
        assert cli(*arguments, tmp_path / "meanwhile").stdout == at_rest.stdout
    assert (tmp_path / "meanwhile").read_bytes() == (tmp_path / "at-rest").read_bytes()


def test_options_choose_turns_as_in_a_list(cli, filled, filled_lines):
    records, in_turns = filled_lines
    of = {
        options: [line.get("turnId") for line in lines_of(cli("export", *options, "--store", filled))]
        for options in RULES
    }
    assert len(of[()]) == records
    assert len(of["--since", "2001-01-01"]) == in_turns < records
    assert set(of["--status", "error"]) == {"t-error"}
    assert set(of["--conversation", "c-2"]) == {"t-error", "t-open"}
    assert of["--since", "2100-01-01"] == []


def test_a_file_is_private_new_and_counted(cli, filled, filled_lines, tmp_path):
    out = tmp_path / "x.parquet"
    said = cli("export", "--format", "parquet", "--bodies", "--out", out, "--json", "--store", filled)
    report = json.loads(said.stdout)
    assert report == {"records": filled_lines[0], "bodies": 3, "bytes": out.stat().st_size, "missing_bodies": 0}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "cwd") == []
    again = cli("export", "--out", out, "--store", filled)
    assert (again.exit_code, "wanted a new file" in again.stderr) == (2, True)
    assert out.stat().st_size == report["bytes"]


def test_an_export_that_fails_leaves_no_file(cli, filled, tmp_path, monkeypatch):
    from tracestore.errors import StoreUnavailable
    from tracestore.export import export

    def fail(*arguments):
        raise StoreUnavailable("the disk went away")

    monkeypatch.setattr(export, "journal_line", fail)
    (tmp_path / "into").mkdir()
    done = cli("export", "--out", tmp_path / "into" / "x", "--store", filled)
    assert (done.exit_code, done.stderr) == (6, "tracestore: the disk went away\n")
    assert list((tmp_path / "into").iterdir()) == []
    nowhere = cli("export", "--out", tmp_path / "none" / "x", "--store", filled)
    assert nowhere.exit_code == 6
    assert "cannot write the export: No such file or directory" in nowhere.stderr


def test_counts_need_a_file_and_a_store_must_be_there(cli, filled, tmp_path):
    assert cli("export", "--json", "--store", filled).exit_code == 2
    assert cli("export", "--format", "csv", "--store", filled).exit_code == 2
    assert cli("export", "--since", "soon", "--store", filled).exit_code == 2
    assert cli("export", "--store", tmp_path / "none").exit_code == 3


def run_on_terminal(*arguments):
    """Run a command line whose stdout is a terminal; returns exit code, what it wrote there, and stderr."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "tracestore", *map(str, arguments)], stdout=theirs, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            written += os.read(ours, 65536)
        except OSError:  # nobody writes any more
            break
    os.close(ours)
    _, said = done.communicate(timeout=30)
    return done.returncode, written, said.decode()


def test_a_terminal_gets_no_parquet_and_no_control_characters(filled, make):
    code, written, said = run_on_terminal("export", "--format", "parquet", "--store", filled)
    assert (code, written) == (2, b"")
    assert "wanted --out FILE or a pipe, found a terminal" in said
    with TraceStore(filled) as store:
        store.insert_records([make.log(1, "\x9b31m\u202e")])
    code, written, _ = run_on_terminal("export", "--store", filled)
    assert code == 0
    assert b"\\u009b31m\\u202e" in written
    assert not {0x1B, 0x9B} & set(written.decode().encode("latin-1", "ignore"))


def test_a_reader_that_has_enough_ends_it_in_silence(filled, make, now_ms, process, tmp_path):
    with TraceStore(tmp_path / "large") as store:
        store.insert_records([make.log(now_ms + n, "x" * 1000) for n in range(5000)])
    exporting = process("export", "--store", tmp_path / "large")
    assert exporting.stdout.readline().startswith("{")
    exporting.stdout.close()
    assert exporting.stderr.read() == ""
    assert exporting.wait(20) == 0


def test_an_interrupted_export_ends_with_its_own_code(make, now_ms, process, tmp_path):
    with TraceStore(tmp_path / "large") as store:
        store.insert_records([make.log(now_ms + n, "x" * 1000) for n in range(5000)])
    exporting = process("export", "--store", tmp_path / "large")  # it stands still where nobody reads
    assert exporting.stdout.readline().startswith("{")
    exporting.send_signal(signal.SIGINT)
    assert exporting.wait(20) == 130
    assert "Traceback" not in exporting.stderr.read()
