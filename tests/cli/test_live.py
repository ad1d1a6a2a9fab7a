"""Every command gives the same on a store that is being collected into as on one at rest."""

import json
import re
import shutil
import signal
import socket
import threading

import pytest

from tracestore import TraceStore
from tracestore.remote.sockets import is_answered
from tracestore.serve.health import Status
from tracestore.serve.server import Server

COMMANDS = [
    ("view", "well"),
    ("view", "t-error", "--json"),
    ("view", "nothing"),
    ("list",),
    ("list", "--json"),
    ("list", "--status", "error", "--turns"),
    ("list", "--conversations", "--since", "2026-01-01"),
    ("show", "s-error"),
    ("show", "s-error", "--body"),
    ("show", "s-error", "--json", "--body"),
    ("show", "nothing"),
    ("body", "RECORD"),
    ("body", "RECORD", "--json"),
    ("body", "00" * 32),
    ("query", "SELECT * FROM records ORDER BY record_id"),
    ("query", "SELECT * FROM spans ORDER BY span_id", "--json"),
    ("query", "SELECT 1.50::DECIMAL(4,2) d, INTERVAL 1 DAY i, [1] l, {'a': 1} s", "--csv"),
    ("query", "SELECT none"),
    ("query", "DROP TABLE raw.records"),
    ("query", "--schema"),
    ("stats",),
    ("stats", "--json"),
    ("verify", "--data"),
    ("verify", "--json"),
    ("prune", "--max-age", "1d", "--dry-run"),
    ("prune", "--max-body-bytes", "0", "--dry-run", "--json"),
    ("prune",),
]


@pytest.fixture
def ran(cli, filled, record_id):
    """`ran(command)` runs a command line on the filled store: exit code, stdout and stderr."""
    record = record_id("body_digest IS NOT NULL ORDER BY timestamp")

    def run(command):
        arguments = [record if argument == "RECORD" else argument for argument in command]
        result = cli(*arguments, "--store", filled)
        return result.exit_code, result.stdout_bytes, result.stderr

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_gives_the_same_while_another_process_collects(ran, filled, command):
    at_rest = ran(command)
    with TraceStore(filled) as held, Server(held, Status()):
        live = ran(command)
    assert live == at_rest


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("prune", "--max-age", "1d"), rb"deleted 7 records and 3 bodies"),
        (("pack", "--grace", "0"), rb"packed 3 bodies"),
    ],
    ids=["prune", "pack"],
)
def test_what_changes_a_store_goes_through_too(ran, filled, command, said):
    with TraceStore(filled) as held, Server(held, Status()):
        code, stdout, stderr = ran(command)
    assert (code, stderr) == (0, "")
    assert re.search(said, stdout), stdout
    with TraceStore(filled, read_only=True) as store:
        assert store.verify(data=True).is_clean


@pytest.mark.parametrize(
    "command", [("unpack",), ("repair",), ("forget", "--turn", "well"), ("rebuild",)], ids=" ".join
)
def test_what_needs_the_store_alone_names_its_holder(cli, filled, command):
    with TraceStore(filled) as held, Server(held, Status()):
        result = cli(*command, "--store", filled)
    if "No such option" in result.stderr:
        pytest.fail(result.stderr)
    assert result.exit_code == 4
    assert "held by process" in result.stderr


def test_a_backup_goes_on_beside_a_collector(process, cli, tmp_path, make, now_ms):
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(3, body="text"))
    collector = process("collect", "--store", tmp_path / "s", "--journal", journal)
    count = ("query", "SELECT count(*) AS n FROM records", "--csv", "--store", tmp_path / "s")
    _until(lambda: cli(*count).stdout == "n\n3\n")
    result = cli("backup", tmp_path / "copy", "--store", tmp_path / "s", "--json")
    assert (result.exit_code, json.loads(result.stdout)["is_fresh"]) == (0, True)
    collector.send_signal(signal.SIGTERM)
    assert collector.wait(20) == 0


@pytest.mark.parametrize("command", ["collect", "serve"])
def test_a_collector_is_asked_and_its_store_is_read_after_it_was_killed(process, cli, tmp_path, make, command):
    journal, store = tmp_path / "app.ndjson", tmp_path / ("s" * 120)
    journal.write_bytes(make.lines(3, turnId="t"))
    collector = process(command, "--store", store, "--journal", journal)

    def count():
        return cli("query", "SELECT count(*) AS n FROM records", "--csv", "--store", store).stdout

    _until(lambda: count() == "n\n3\n")
    with journal.open("ab") as more:
        more.write(make.lines(2, start=3, turnId="t"))
    _until(lambda: count() == "n\n5\n")
    collector.kill()
    collector.wait(20)
    assert (store / "socket").exists()
    assert count() == "n\n5\n"
    again = process(command, "--store", store, "--journal", journal)
    _until(lambda: is_answered(store / "socket"))
    assert count() == "n\n5\n"
    again.send_signal(signal.SIGINT)
    assert again.wait(20) == 0
    assert not (store / "socket").exists()


def _until(is_true, seconds=30):
    """Wait until something holds; the child needs its time to start."""
    waited = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if is_true():
            return
        waited.wait(0.05)
    pytest.fail("it never came true")


@pytest.mark.parametrize("command", ["collect", "serve"])
def test_a_second_signal_ends_it_at_once_and_in_a_line(process, tmp_path, make, command):
    """It is as a crash: nothing is lost by it, and no thread that has something to do keeps it."""
    journal = tmp_path / "app.ndjson"
    journal.write_bytes(make.lines(3))
    collector = process(command, "--store", tmp_path / "s", "--journal", journal)
    assert any("is new" in line for line in collector.stderr)  # a signal before that ends it as any program
    with socket.socket(socket.AF_UNIX) as asking:  # a request that never ends: the first signal waits for it
        asking.connect(str(tmp_path / "s" / "socket"))
        asking.sendall(b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        collector.send_signal(signal.SIGTERM)
        assert any("once more stops at once" in line for line in collector.stderr)
        collector.send_signal(signal.SIGTERM)
        assert collector.wait(20) == 130
    assert collector.stderr.read().endswith("tracestore: interrupted\n")
