"""pack, unpack and collect --no-pack; what people are told of packs."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blobs import BlobStore, Digest
from tracestore import TraceStore
from tracestore.cli.collect_report import JsonReport, PeopleReport
from tracestore.collector import Packed, PackFailed
from tracestore.errors import StoreUnavailable
from tracestore.maintenance import packing
from tracestore.maintenance.summary import PackReport

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]
SECONDS = 60


def bodies_of(store: Path) -> dict[Digest, object]:
    with BlobStore(store / "blobs", create=False) as blobs:
        return dict(blobs.get_many(blobs))


def packs_of(store: Path) -> list[Path]:
    return sorted((store / "blobs" / "packs").glob("*.pack"))


def loose_of(store: Path) -> list[Path]:
    return sorted((store / "blobs" / "objects").rglob("*.gz"))


def test_pack_says_what_it_did_and_what_waits(cli: Cli, filled: Path) -> None:
    before = bodies_of(filled)

    result = cli("pack", "--store", filled)

    assert result.exit_code == 0
    assert result.stdout.startswith("packed 3 bodies, ")
    assert "(1 pack); " in result.stdout
    assert " in 3 replaced files " in result.stdout
    assert "(tracestore pack --grace 0: none)" in result.stdout
    assert (len(packs_of(filled)), len(loose_of(filled))) == (1, 3)
    assert bodies_of(filled) == before

    again = cli("pack", "--grace", "0", "--store", filled)
    assert again.stdout == "nothing to pack; gave 12.0k back to the disk\n"
    assert loose_of(filled) == []
    assert bodies_of(filled) == before
    assert cli("pack", "--store", filled).stdout == "nothing to pack\n"


def test_pack_and_unpack_answer_programs(cli: Cli, filled: Path) -> None:
    done = json.loads(cli("pack", "--grace", "0", "--json", "--store", filled).stdout)
    assert (done["bodies"], done["packs"], done["files_pending"], done["is_complete"]) == (3, 1, 0, True)
    assert set(done) == set(PackReport.__dataclass_fields__)
    undone = json.loads(cli("unpack", "--grace", "0", "--json", "--store", filled).stdout)
    assert (undone["bodies"], undone["files_pending"]) == (3, 0)


def test_unpack_writes_the_same_files_again(cli: Cli, filled: Path) -> None:
    before = {path: path.read_bytes() for path in loose_of(filled)}
    cli("pack", "--grace", "0", "--store", filled)

    result = cli("unpack", "--grace", "0", "--store", filled)

    assert result.exit_code == 0
    assert result.stdout.startswith("wrote 3 bodies into files of their own; gave ")
    assert {path: path.read_bytes() for path in loose_of(filled)} == before
    assert packs_of(filled) == []
    assert cli("unpack", "--store", filled).stdout == "nothing is packed\n"


def test_what_a_command_shows_is_the_same_out_of_a_pack(cli: Cli, filled: Path, record_id: Any) -> None:
    shown = [
        ("view", "t-error"), ("list",), ("show", record_id("turn_id = 'well' AND kind = 'span-open'")),
        ("show", "s-error", "--json"), ("query", "SELECT * FROM bodies ORDER BY ALL"),
        ("body", record_id("turn_id = 'well' AND kind = 'span-close'")),
    ]  # fmt: skip
    before = [cli(*command, "--store", filled).stdout for command in shown]

    cli("pack", "--grace", "0", "--store", filled)

    assert [cli(*command, "--store", filled).stdout for command in shown] == before
    assert all(before)


def test_stats_tell_files_and_packs_apart(cli: Cli, filled: Path) -> None:
    assert "in packs" not in cli("stats", "--store", filled).stdout
    cli("pack", "--grace", "0", "--store", filled)
    text = cli("stats", "--store", filled).stdout
    assert "in files" not in text
    assert "  in packs   1 pack, 4.0k for 3 bodies of " in text
    stats = json.loads(cli("stats", "--json", "--store", filled).stdout)
    assert (stats["packs"], stats["packed_bodies"], stats["loose_blobs"]) == (1, 3, 0)


def test_a_store_kept_without_packs_refuses_and_says_what_to_do(cli: Cli, tmp_path: Path, make: Any) -> None:
    journal, store = tmp_path / "app.ndjson", tmp_path / "s"
    journal.write_bytes(make.lines(300, body="x" * 100))
    assert cli("collect", "--once", "--no-pack", "--journal", journal, "--store", store).exit_code == 0
    result = cli("pack", "--store", store)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert str(store / "no-pack") in result.stderr
    assert "remove that file to pack it" in result.stderr


def test_no_pack_is_for_good(cli: Cli, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LOOSE_BLOBS", 10)
    journal, store = tmp_path / "app.ndjson", tmp_path / "s"
    lines = [make.line(make.log(msg=str(n), body=f"body {n}")) for n in range(600)]
    journal.write_bytes(b"".join(lines[:300]))
    cli("collect", "--once", "--no-pack", "--journal", journal, "--store", store)
    journal.write_bytes(b"".join(lines))
    assert cli("collect", "--once", "--journal", journal, "--store", store).exit_code == 0
    assert (len(loose_of(store)), packs_of(store)) == (600, [])


def test_unpack_no_pack_keeps_a_store_that_way(cli: Cli, filled: Path) -> None:
    cli("pack", "--grace", "0", "--store", filled)
    assert cli("unpack", "--grace", "0", "--no-pack", "--store", filled).exit_code == 0
    assert (len(loose_of(filled)), packs_of(filled)) == (3, [])
    assert cli("pack", "--store", filled).exit_code == 2


def test_a_single_run_packs_when_there_is_enough(
    cli: Cli, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LOOSE_BLOBS", 10)
    journal, store = tmp_path / "app.ndjson", tmp_path / "s"
    journal.write_bytes(b"".join(make.line(make.log(msg=str(n), body=f"body {n}")) for n in range(20)))

    result = cli("collect", "--once", "--json", "--journal", journal, "--store", store)

    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events][-3:] == ["collected", "packed", "done"]
    assert (events[-2]["bodies"], events[-2]["files_pending"]) == (20, 20)
    assert len(packs_of(store)) == 1


def test_a_bad_grace_is_refused(cli: Cli, filled: Path) -> None:
    for command in ("pack", "unpack"):
        result = cli(command, "--grace", "soon", "--store", filled)
        assert result.exit_code == 2
        assert "'soon'" in result.stderr
    assert packs_of(filled) == []


def test_a_failure_of_packing_is_told_and_ends_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    failed = PackFailed(StoreUnavailable(28, "the disk is full"))
    JsonReport()(failed)
    JsonReport()(Packed(PackReport(bodies=5)))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["error"]) == ("pack_failed", "StoreUnavailable")
    assert "the disk is full" in first["message"]
    assert (second["event"], second["bodies"]) == ("packed", 5)
    report = PeopleReport(tmp_path)
    report(failed)
    report(Packed(PackReport()))
    report(Packed(PackReport(bodies=5, raw_bytes=8192, stored_bytes=4096, packs=1)))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("tracestore: packing failed and is tried again at its next turn: ")
    assert said[1] == "tracestore: packed 5 bodies, 8.0k into 4.0k, 2 times smaller (1 pack)"


@pytest.fixture
def backlog(tmp_path: Path, make: Any) -> Path:
    """A store of small packs, made in haste: packing them takes a good while."""
    rng = random.Random(1)
    path = tmp_path / "backlog"
    with TraceStore(path) as store:
        store.insert_records([make.log(msg=str(n), body=rng.randbytes(30_000).hex()) for n in range(600)])
    assert packs_of(path)
    return path


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Let a child hear SIGINT, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.005)


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_while_packing_loses_nothing(process: Process, cli: Cli, backlog: Path) -> None:
    before = bodies_of(backlog)
    packs = packs_of(backlog)
    running = process("pack", "--grace", "0", "--store", backlog)
    wait_for(lambda: any(name.endswith(".new") for name in os.listdir(backlog / "blobs" / "packs")), "packing")
    running.send_signal(signal.SIGINT)

    assert running.wait(SECONDS) == 130

    assert set(packs) <= set(packs_of(backlog))
    assert bodies_of(backlog) == before
    assert cli("verify", "--data", "--store", backlog).exit_code == 0
    result = json.loads(cli("pack", "--grace", "0", "--json", "--store", backlog).stdout)
    assert (result["is_complete"], result["files_pending"]) == (True, 0)
    assert not set(packs) & set(packs_of(backlog))
    assert bodies_of(backlog) == before
