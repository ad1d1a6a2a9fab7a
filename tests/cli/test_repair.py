"""verify in parts, and repair."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blobs import Digest

Cli = Callable[..., Any]


@pytest.fixture
def damaged(filled: Path, tmp_path: Path) -> Path:
    """The filled store without one of its bodies; a copy of its blobs lies in `backup`, its journal is gone."""
    shutil.copytree(filled / "blobs", tmp_path / "backup")
    shutil.rmtree(filled / "journal")
    digest = Digest.of(b"short").hex()
    (filled / "blobs" / "objects" / digest[:2] / f"{digest}.gz").unlink()
    return filled


def test_the_parts_of_a_store_are_verified_one_by_one(cli: Cli, filled: Path) -> None:
    digest = Digest.of(b"short")
    path = filled / "blobs" / "objects" / digest.hex()[:2] / f"{digest}.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(0o400)

    results = [cli("verify", "--subset", f"{n}/3", "--store", filled) for n in (1, 2, 3)]

    assert sorted(result.exit_code for result in results) == [0, 0, 1]
    assert results[0].stdout.endswith("3 files looked at, 1/3 of them read and hashed\n")


def test_a_sample_is_named_in_the_report_and_can_be_read_again(cli: Cli, filled: Path) -> None:
    report = json.loads(cli("verify", "--subset", "50%", "--json", "--store", filled).stdout)
    again = json.loads(cli("verify", "--subset", report["subset"], "--json", "--store", filled).stdout)

    assert report["subset"].startswith("50%@")
    assert again == report


def test_a_subset_that_is_none_is_a_bad_usage(cli: Cli, filled: Path) -> None:
    result = cli("verify", "--subset", "8/7", "--store", filled)

    assert result.exit_code == 2
    assert "subset: part 8 of 7" in result.stderr


def test_nothing_to_repair_is_said_and_is_success(cli: Cli, filled: Path) -> None:
    result = cli("repair", "--apply", "--store", filled)

    assert (result.exit_code, result.stdout) == (0, "nothing is damaged\n")


def test_a_dry_run_tells_what_would_be_done_and_exits_with_1(cli: Cli, damaged: Path, tmp_path: Path) -> None:
    result = cli("repair", "--from", tmp_path / "backup", "--store", damaged)

    assert result.exit_code == 1
    assert f"put back\t{Digest.of(b'short')}\t" in result.stdout
    assert result.stdout.endswith("1 to do (--apply does it)\n")
    assert cli("verify", "--store", damaged).exit_code == 1


def test_a_body_is_put_back_from_a_backup(cli: Cli, damaged: Path, tmp_path: Path) -> None:
    result = cli("repair", "--apply", "--from", tmp_path / "backup", "--json", "--store", damaged)

    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (report["whole"], report["applied"], report["lost"], report["remaining"]) == (True, True, 0, [])
    assert [mend["action"] for mend in report["mends"]] == ["put back"]
    assert Path(report["log"]).parent == damaged / "repairs"
    assert cli("body", Digest.of(b"short").hex(), "--store", damaged).stdout == "short"
    assert cli("verify", "--data", "--store", damaged).exit_code == 0


def test_a_body_nobody_has_is_lost_and_stays_so(cli: Cli, damaged: Path) -> None:
    first = cli("repair", "--apply", "--store", damaged)
    second = cli("repair", "--apply", "--store", damaged)

    assert first.exit_code == second.exit_code == 1
    assert f"mark lost\t{Digest.of(b'short')}\t5 bytes, lost" in first.stdout
    assert "1 done; bodies lost for good: 1\nundo log: " in first.stdout
    assert second.stdout == "nothing to do; bodies lost for good: 1\n"
    verified = cli("verify", "--data", "--store", damaged)
    assert verified.exit_code == 0
    assert verified.stdout.endswith("; 1 lost for good\n")


def test_a_body_is_taken_from_a_journal_that_is_given(
    cli: Cli, damaged: Path, tmp_path: Path, make: Any
) -> None:
    (tmp_path / "kept.ndjson").write_bytes(make.line(make.log(msg="sent again elsewhere", body="short")))

    result = cli("repair", "--apply", "--journal", tmp_path / "kept.ndjson", "--store", damaged)

    assert result.exit_code == 0
    assert "kept.ndjson at byte 0" in result.stdout


@pytest.mark.parametrize("option", ["--from", "--journal"])
def test_a_source_that_is_not_there_is_a_bad_usage(cli: Cli, damaged: Path, tmp_path: Path, option: str) -> None:
    result = cli("repair", "--apply", option, tmp_path / "nothing", "--store", damaged)

    assert result.exit_code == 2
    assert option in result.stderr
    assert cli("verify", "--store", damaged).exit_code == 1


def test_a_store_that_is_not_there_is_not_made(cli: Cli, tmp_path: Path) -> None:
    assert cli("repair", "--apply", "--store", tmp_path / "nothing").exit_code == 3
    assert not (tmp_path / "nothing").exists()
