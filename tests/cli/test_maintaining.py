"""prune, verify, import and demo."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blobs import BlobStore, Digest
from tracestore import TraceStore

Cli = Callable[..., Any]


def test_prune_says_what_it_deleted(cli: Cli, filled: Path) -> None:
    result = cli("prune", "--max-age", "1d", "--store", filled)

    assert result.exit_code == 0
    assert result.stdout.startswith("deleted 7 records and 3 bodies; gave ")
    assert json.loads(cli("stats", "--json", "--store", filled).stdout)["records"] == 0


def test_a_dry_run_says_the_same_and_changes_nothing(cli: Cli, filled: Path) -> None:
    planned = json.loads(cli("prune", "--max-age", "1d", "--dry-run", "--json", "--store", filled).stdout)
    assert json.loads(cli("stats", "--json", "--store", filled).stdout)["records"] == 7
    done = json.loads(cli("prune", "--max-age", "1d", "--json", "--store", filled).stdout)

    assert (planned["dry_run"], done["dry_run"]) == (True, False)
    for figure in ("records_deleted", "bodies_deleted", "bodies_evicted"):
        assert planned[figure] == done[figure]


def test_the_rules_come_from_the_environment_and_an_option_wins(cli: Cli, filled: Path) -> None:
    variables = {"TRACESTORE_MAX_BODY_BYTES": "0", "TRACESTORE_MAX_AGE": ""}
    kept = cli("prune", "--max-body-bytes", "1GiB", "--dry-run", "--store", filled, env=variables)
    evicted = cli("prune", "--store", filled, env=variables)

    assert kept.stdout.startswith("would delete 0 records and 0 bodies")
    assert evicted.stdout.startswith("deleted 0 records and 3 bodies (3 over the cap)")


def test_prune_refuses_what_does_not_add_up_and_force_goes_on(cli: Cli, filled: Path) -> None:
    digest = Digest.of(b"short").hex()
    (filled / "blobs" / "objects" / digest[:2] / f"{digest}.gz").unlink()

    refused = cli("prune", "--max-age", "5000w", "--store", filled)
    assert refused.exit_code == 7
    assert len(refused.stderr.splitlines()) == 1
    assert "tracestore verify" in refused.stderr

    assert cli("prune", "--max-age", "5000w", "--force", "--store", filled).exit_code == 0


def test_verify_of_a_sound_store_is_clean(cli: Cli, filled: Path) -> None:
    assert cli("verify", "--store", filled).stdout == (
        "no damage: 7 records, 3 bodies, 3 files looked at, not read (--data reads them)\n"
    )
    report = json.loads(cli("verify", "--data", "--json", "--store", filled).stdout)
    assert (report["clean"], report["with_data"], report["findings"]) == (True, True, [])


def test_verify_lists_damage_and_exits_with_1(cli: Cli, filled: Path) -> None:
    digest = Digest.of(b"short").hex()
    (filled / "blobs" / "objects" / digest[:2] / f"{digest}.gz").unlink()

    result = cli("verify", "--store", filled)
    report = cli("verify", "--json", "--store", filled)

    assert result.exit_code == report.exit_code == 1
    assert result.stdout.startswith(f"missing {digest}: ")
    assert "1 damaged: " in result.stdout
    assert json.loads(report.stdout)["findings"][0]["kind"] == "missing"


def test_a_flipped_bit_is_found_by_data_alone(cli: Cli, filled: Path) -> None:
    digest = Digest.of(b"short").hex()
    path = filled / "blobs" / "objects" / digest[:2] / f"{digest}.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o400)

    assert cli("verify", "--store", filled).exit_code == 0
    assert cli("verify", "--data", "--store", filled).exit_code == 1


SEED_TABLES = """
CREATE TABLE records (id TEXT PRIMARY KEY, kind TEXT, level TEXT, msg TEXT, name TEXT, spanId TEXT, parentSpanId TEXT,
    conversationId TEXT, turnId TEXT, extensionId TEXT, timestamp INTEGER, durationMs INTEGER, status TEXT,
    attributes TEXT, links TEXT);
CREATE TABLE bodies (recordId TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """Three records, one with a body, and two rows that are none."""
    path = tmp_path / "seed.db"
    columns = "id, kind, level, msg, spanId, name, turnId, extensionId, timestamp, durationMs, status"
    rows = [
        ("a", "span-open", None, None, "s1", "step", "t", "x", 1700000000000, None, None),
        ("b", "log", "info", "hello", "s1", None, "t", "x", 1700000000100, None, None),
        ("c", "heartbeat", None, None, None, None, "t", "x", 1700000000150, None, None),
        ("d", "log", "info", "no time", None, None, "t", "x", None, None, None),
        ("e", "span-close", None, None, "s1", "step", "t", "x", 1700000000200, 200, "ok"),
    ]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SEED_TABLES)
        connection.executemany(f"INSERT INTO records ({columns}) VALUES ({', '.join('?' * 11)})", rows)
        connection.execute("INSERT INTO bodies VALUES ('a', 'the request')")
        connection.commit()
    return path


def test_an_import_brings_records_in_and_keeps_what_is_none(cli: Cli, tmp_path: Path, seed: Path) -> None:
    result = cli("import", "seed-sqlite", seed, "--store", tmp_path / "s")

    assert result.exit_code == 0
    assert result.stdout == "5 rows = 3 inserted + 0 duplicates + 2 rejected\n"
    assert "row 3: kind: wanted one of" in result.stderr
    assert "row 4: timestamp: wanted" in result.stderr
    assert cli("view", "t", "--store", tmp_path / "s").stdout == "- step 200ms [body 11b]\n  - hello\n"
    rejected = (tmp_path / "s" / "journal" / "rejected.ndjson").read_text()
    assert "heartbeat" in rejected
    assert "no time" in rejected


def test_importing_again_adds_nothing(cli: Cli, tmp_path: Path, seed: Path) -> None:
    cli("import", "seed-sqlite", seed, "--store", tmp_path / "s")
    stats = cli("stats", "--json", "--store", tmp_path / "s").stdout
    rejected = (tmp_path / "s" / "journal" / "rejected.ndjson").read_bytes()

    again = json.loads(cli("import", "seed-sqlite", seed, "--json", "--store", tmp_path / "s").stdout)

    assert again == {"rows": 5, "inserted": 0, "duplicates": 5, "rejected": 0, "left_out": 0}
    counted = ("records", "bodies", "rejected", "unique_bodies")
    after = json.loads(cli("stats", "--json", "--store", tmp_path / "s").stdout)
    assert [after[name] for name in counted] == [json.loads(stats)[name] for name in counted]
    assert (tmp_path / "s" / "journal" / "rejected.ndjson").read_bytes() == rejected


def test_a_row_too_long_for_a_line_is_said_and_stops_nothing(cli: Cli, tmp_path: Path, seed: Path) -> None:
    with closing(sqlite3.connect(seed)) as connection:
        connection.execute("UPDATE bodies SET body = ?", ("x" * (33 * 2**20),))
        connection.commit()

    result = cli("import", "seed-sqlite", seed, "--store", tmp_path / "s")

    assert result.exit_code == 1
    assert "row 1: wanted at most 33554432 bytes as a line" in result.stderr
    assert result.stdout == "5 rows = 2 inserted + 0 duplicates + 2 rejected + 1 left out\n"


@pytest.mark.parametrize("name", ["none.db", "text.db"])
def test_what_is_no_database_makes_no_store(
    cli: Cli, tmp_path: Path, name: str, listing: Callable[[Path], list[str]]
) -> None:
    (tmp_path / "text.db").write_text("dear reader, " * 100)
    before = listing(tmp_path)

    result = cli("import", "seed-sqlite", tmp_path / name, "--store", tmp_path / "s")

    assert result.exit_code == (3 if name == "none.db" else 2)
    assert len(result.stderr.splitlines()) == 1
    assert listing(tmp_path) == before


def test_the_demo_leaves_nothing_behind_without_a_store(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: Callable[[Path], list[str]]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TRACESTORE_DIR", str(tmp_path / "mine"))
    before = listing(tmp_path)

    result = cli("demo")

    assert result.exit_code == 0
    assert "is removed now" in result.stdout
    assert listing(tmp_path) == before


def test_the_demo_shows_a_warm_resend_a_failed_tool_and_what_is_saved(cli: Cli, tmp_path: Path) -> None:
    shown = json.loads(cli("demo", "--json", "--store", tmp_path / "s").stdout)

    view = "\n".join(shown["view"])
    assert "(cache warming)" in view
    assert ' ERR {tool="edit_file"' in view
    assert "[warn] the model named a file" in view
    assert shown["inserted"] == shown["journal_lines"] == shown["stats"]["records"]
    assert shown["stats"]["turns"] == 4
    assert shown["stats"]["unique_body_bytes"] < shown["stats"]["body_bytes"]
    assert shown["stats"]["blob_bytes_on_disk"] < shown["stats"]["body_bytes"] / 1.5
    assert [row["model"] for row in shown["rows"]] == ["example-large", "example-small"]


def test_the_session_of_the_demo_stays_where_it_was_told_to(cli: Cli, tmp_path: Path) -> None:
    shown = json.loads(cli("demo", "--json", "--store", tmp_path / "s").stdout)

    crashed = cli("view", shown["turn_id"][:-1] + "4", "--store", tmp_path / "s").stdout
    assert crashed.splitlines()[0] == "- turn (open)"
    assert '  - tool.call (open) {tool="run_tests", target="tests"}' in crashed
    assert cli("verify", "--data", "--store", tmp_path / "s").exit_code == 0
    with TraceStore(tmp_path / "s", create=False, read_only=True) as store:
        assert store.stats()["rejected"] == 0


def test_the_demo_tells_people_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    stdout = cli("demo", "--store", tmp_path / "s").stdout

    for step in range(1, 6):
        assert f"\n{step}. " in f"\n{stdout}"
    assert f"tracestore list --store {tmp_path / 's'}" in stdout


def test_verify_names_a_few_harmless_findings_of_a_kind_and_counts_the_rest(cli: Cli, filled: Path) -> None:
    with BlobStore(filled / "blobs") as blobs:
        blobs.put_many(f"orphan {number}".encode() for number in range(15))

    result = cli("verify", "--store", filled)

    assert result.stdout.count("no ledger row names it") == 10
    assert "orphan: 5 more (harmless; --json lists all)" in result.stdout
    assert len(json.loads(cli("verify", "--json", "--store", filled).stdout)["findings"]) == 15


def test_rebuild_makes_a_torn_database_again_and_keeps_the_old_file(cli: Cli, filled: Path) -> None:
    database = filled / "records.duckdb"
    database.write_bytes(database.read_bytes()[:5000])

    assert cli("stats", "--store", filled).exit_code == 3
    result = cli("rebuild", "--json", "--store", filled)

    assert json.loads(result.stdout)["records"] == 7
    assert "kept the earlier database" in result.stderr
    assert len(list(filled.glob("records.duckdb.damaged-*"))) == 1
    assert cli("verify", "--data", "--store", filled).exit_code == 0


def test_rebuild_of_nothing_is_no_store(cli: Cli, tmp_path: Path) -> None:
    assert cli("rebuild", "--store", tmp_path / "nothing").exit_code == 3
    assert not (tmp_path / "nothing").exists()


def test_forget_erases_a_turn_and_says_what_it_could_not_reach(cli: Cli, filled: Path) -> None:
    result = cli("forget", "--turn", "well", "--store", filled)

    assert result.exit_code == 0
    assert "erased 3 records, 2 bodies" in result.stdout
    assert "not reached: backups and copies made before" in result.stdout
    assert cli("view", "well", "--store", filled).exit_code == 5


def test_forget_of_what_is_not_there_exits_with_5(cli: Cli, filled: Path) -> None:
    result = cli("forget", "--turn", "mistyped", "--store", filled)
    assert (result.exit_code, "mistyped: no record and no body of it" in result.stderr) == (5, True)
    assert cli("forget", "--store", filled).exit_code == 2
    assert cli("forget", "--turn", "a", "--digest", "b", "--store", filled).exit_code == 2


def test_a_reader_shows_what_a_crash_left_in_the_journal(cli: Cli, filled: Path, make: Any) -> None:
    (filled / "journal" / "inserted" / "1-1-0.ndjson").write_bytes(make.line(make.log(msg="acknowledged")))
    assert json.loads(cli("stats", "--json", "--store", filled).stdout)["records"] == 8
