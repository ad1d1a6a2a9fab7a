"""backup and restore, here and on another machine."""

import json
import os
import stat
from pathlib import Path

import pytest

from blobs import Digest
from tracestore import TraceStore


@pytest.fixture
def other_machine(tmp_path, monkeypatch):
    """A remote shell whose other machine is this one, with another home."""
    (tmp_path / "home").mkdir()
    shell = tmp_path / "shell"
    shell.write_text(
        "#!/bin/sh\n"
        '[ "$1" = -l ] && shift 2\n'
        '[ "$1" = nowhere ] && { echo "ssh: no such host: $1" >&2; exit 255; }\n'
        f'shift; cd "{tmp_path}/home" && exec "$@"\n'
    )
    shell.chmod(stat.S_IRWXU)
    monkeypatch.setenv("RSYNC_RSH", str(shell))
    return tmp_path / "home"


def bodies(path):
    with TraceStore(path, create=False, read_only=True) as store:
        rows = store.sql("SELECT record_id FROM records ORDER BY ALL").rows
        return [(record.record_id, record.body) for row in rows if (record := store.get_record(str(row[0])))]


def test_a_store_is_backed_up_and_restored(cli, filled, tmp_path):
    done = cli("backup", tmp_path / "backup", "--store", filled)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"backed up {filled} to {tmp_path / 'backup'}: ")
    assert done.stderr == ""

    again = cli("restore", tmp_path / "backup", "--store", tmp_path / "again")
    assert again.exit_code == 0
    assert again.stdout.startswith(f"restored 7 records and 3 bodies to {tmp_path / 'again'}: ")
    assert bodies(tmp_path / "again") == bodies(filled)
    assert cli("verify", "--data", "--store", tmp_path / "again").exit_code == 0


def test_as_json(cli, filled, tmp_path):
    done = json.loads(cli("backup", tmp_path / "backup", "--json", "--store", filled).stdout)
    assert done["is_fresh"]
    assert done["files"] > 3

    again = json.loads(cli("restore", tmp_path / "backup", "--json", "--store", tmp_path / "again").stdout)
    assert (again["records"], again["clean"], again["findings"]) == (7, True, [])
    assert (again["name"], again["rebuilt"]["snapshot"]) == (done["name"], done["snapshot"])


@pytest.mark.parametrize("where", ["host:{home}/my backups", "me@host:backups"])
def test_to_another_machine_and_back(where, cli, filled, tmp_path, other_machine):
    place = where.format(home=other_machine)
    first = json.loads(cli("backup", place, "--json", "--store", filled).stdout)
    cli("query", "SELECT 1", "--store", filled)
    second = json.loads(cli("backup", place, "--json", "--store", filled).stdout)
    assert second["files"] < first["files"]
    assert len([path for path in other_machine.rglob("rows-*") if path.is_dir()]) == 1

    assert cli("restore", place, "--store", tmp_path / "again").exit_code == 0
    assert bodies(tmp_path / "again") == bodies(filled)


def test_a_machine_that_cannot_be_reached_is_told_in_a_line(cli, filled, other_machine):
    failed = cli("backup", "nowhere:x", "--store", filled)
    assert failed.exit_code == 6
    assert failed.stderr.count("\n") == 1
    assert "ssh: no such host: nowhere" in failed.stderr


def test_a_missing_directory_on_another_machine_is_made_but_not_its_parents(cli, filled, other_machine):
    assert cli("backup", "host:new", "--store", filled).exit_code == 0
    assert stat.S_IMODE((other_machine / "new").stat().st_mode) == 0o700
    failed = cli("backup", "host:no/such/parent", "--store", filled)
    assert failed.exit_code == 6
    assert "No such file or directory" in failed.stderr


def test_bodies_that_are_gone_leave_the_backup_with_delete(cli, filled, tmp_path):
    cli("backup", tmp_path / "backup", "--store", filled)
    cli("prune", "--max-age", "1d", "--store", filled)
    cli("backup", tmp_path / "backup", "--store", filled)
    assert len(list((tmp_path / "backup" / "blobs" / "objects").rglob("*.gz"))) == 3
    kept = cli("restore", tmp_path / "backup", "--store", tmp_path / "kept")
    assert "3 bodies of earlier backups are named by no record" in kept.stderr

    cli("backup", tmp_path / "backup", "--delete", "--store", filled)
    assert list((tmp_path / "backup" / "blobs" / "objects").rglob("*.gz")) == []


def test_a_restore_of_a_damaged_backup_exits_with_1_and_says_what_is_lost(cli, filled, tmp_path):
    cli("backup", tmp_path / "backup", "--store", filled)
    digest = Digest.of(b"short").hex()
    (tmp_path / "backup" / "blobs" / "objects" / digest[:2] / f"{digest}.gz").unlink()
    result = cli("restore", tmp_path / "backup", "--store", tmp_path / "again")
    assert "1 bodies are lost" in result.stderr
    as_json = cli("restore", tmp_path / "backup", "--json", "--store", tmp_path / "third")
    assert as_json.exit_code == result.exit_code == 1
    assert json.loads(as_json.stdout)["rebuilt"]["lost_bodies"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["backup", "{tmp}/backup", "--store", "{tmp}/nothing"], 3, "wanted a store, found none"),
        (["backup", "{tmp}/filled/x", "--store", "{tmp}/filled"], 2, "apart from the store"),
        (["backup", "", "--store", "{tmp}/filled"], 2, "wanted a path or host:path"),
        (["backup", "{tmp}/no/such", "--store", "{tmp}/filled"], 6, "No such file or directory"),
        (["restore", "{tmp}/nothing", "--store", "{tmp}/new"], 3, "wanted a complete backup"),
        (["restore", "{tmp}/cwd", "--store", "{tmp}/new"], 3, "wanted a complete backup"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_makes_nothing(arguments, code, says, cli, filled, tmp_path, listing):
    before = listing(tmp_path)
    failed = cli(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert (failed.exit_code, failed.stdout) == (code, "")
    assert says in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert [name for name in listing(tmp_path) if name not in before and "snapshots" not in name] == []


def test_without_rsync_it_says_what_is_missing(cli, filled, tmp_path):
    failed = cli("backup", tmp_path / "backup", "--store", filled, env={"PATH": str(tmp_path)})
    assert failed.exit_code == 6
    assert "wanted the program rsync, found none" in failed.stderr


def test_a_backup_while_a_collector_runs_has_what_it_collected(cli, process, make, tmp_path):
    journal, store = tmp_path / "app.ndjson", tmp_path / "store"
    journal.write_bytes(make.lines(500, body="the same"))
    collector = process("collect", "--journal", journal, "--store", store, "--json")
    collected = 0
    while collected < 500:
        collected = json.loads(collector.stdout.readline()).get("total_inserted", collected)
    done = cli("backup", tmp_path / "backup", "--json", "--store", store)
    assert json.loads(done.stdout)["is_fresh"]
    assert "asking process" in done.stderr
    collector.terminate()
    collector.communicate()
    os.remove(journal)
    Path(store).rename(tmp_path / "lost")

    assert cli("restore", tmp_path / "backup", "--store", store).exit_code == 0
    assert len(bodies(store)) == 500
    assert cli("verify", "--data", "--store", store).exit_code == 0
