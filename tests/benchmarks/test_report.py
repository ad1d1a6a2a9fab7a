"""A report says what the results say: tables, the block of README, plots."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks
from benchmarks import report
from benchmarks.harness import Figure, Options, Run, at_least, at_most
from benchmarks.recorded import newest, read_results

WORKLOADS = ("ingest", "growth", "space", "sql")
README = f"# A store\n\nBefore.\n\n{report.BEGIN}\nan old table\n{report.END}\n\nAfter.\n"

INGEST = [
    Figure("ours", "MB/s", [68.0, 70.0, 74.5], note="73.0 MB | journal"),
    Figure("ours over SQLite", "x", [0.81, 0.9, 0.95], at_least(0.8), "synchronous=FULL", "SQLite"),
    Figure("ours over files", "x", [2.0, 2.5], at_least(3), against="files"),
    Figure("ours over DuckDB", "x", [1.4], against="DuckDB"),
    Figure("peak memory", "MB", [380.0], at_most(400)),
]
CURVE = [Figure("batch, in order", "ms", [value], at=at) for at, value in ((10_000, 10.0), (10_000_000, 11.0))]
SIZES = [
    Figure("chats: ours, packed", "MB", [17.0]),
    Figure("chats: SQLite", "MB", [1_700.0]),
    Figure("chats: half pruned, SQLite", "MB", [850.0]),
    Figure("chats: peak memory", "MB", [99.0]),
]


def result(started_at, scale="full", journal=None, **workloads):
    return {
        "started_at": started_at, "command": "python -m benchmarks --rounds 2", "scale": scale, "rounds": 2,
        "journal": journal and {"name": f"{journal}.ndjson", "bytes": 1_000_000},
        "commit": {"id": "0123456789abcdef", "changed_files": 0},
        "machine": {"cpu": "some processor", "cores": 2, "memory_bytes": 8 << 30, "file_system": "ext4",
                    "system": "Linux 6.1.0-special"},
        "versions": {"python": "3.11.7", "duckdb": "2.0.0"},
        "workloads": {name: [figure.to_json() for figure in figures] for name, figures in workloads.items()},
    }  # fmt: skip


@pytest.fixture
def sections():
    return newest([result("2026-01-01T00:00:00+00:00", ingest=INGEST, growth=CURVE, space=SIZES)], WORKLOADS)


def test_a_figure_comes_back_from_json_as_it_was(sections):
    (figures,) = [section.figures for section in sections if section.workload == "ingest"]
    assert list(figures) == INGEST


def test_the_newest_run_of_each_workload_and_journal_is_shown_and_a_full_one_before_a_small_one():
    old = result("2026-01-01T00:00:00+00:00", ingest=INGEST, gone=INGEST, sql=[])
    new = result("2026-01-02T00:00:00+00:00", ingest=INGEST)
    small = result("2026-01-03T00:00:00+00:00", "small", ingest=INGEST, space=SIZES)
    other = result("2026-01-01T12:00:00+00:00", "small", "mint", ingest=INGEST)
    chosen = newest([small, new, other, old], WORKLOADS)
    assert [(one.title, one.run["started_at"][:10], one.arguments) for one in chosen] == [
        ("ingest", "2026-01-02", "ingest --scale full --rounds 3"),
        ("ingest, mint", "2026-01-01", "ingest --journal mint.ndjson --rounds 3"),
        ("space", "2026-01-03", "space"),
    ]


def test_the_table_has_every_figure_with_its_spread_verdict_baseline_and_note(sections):
    text = report.document(sections, [Path("ratios.svg")])
    assert "![ratios](ratios.svg)" in text
    assert "| ours | 70 MB/s | 68 .. 74.5 |  |  | 73.0 MB \\| journal |" in text
    assert "| ours over SQLite | 0.9x | 0.81 .. 0.95 | >= 0.8 met | SQLite | synchronous=FULL |" in text
    assert "| ours over files | 2.25x | 2 .. 2.5 | >= 3 **missed** | files |  |" in text
    assert "| batch, in order at 10,000,000 | 11 ms |" in text


def test_the_table_says_how_each_figure_was_made_and_on_what(sections):
    text = report.document(sections, [])
    assert "`python -m benchmarks ingest --scale full --rounds 3`, full scale, run of 2026-01-01T00:00:00" in text
    assert "On 2 cores (some processor), 8 GiB of memory, ext4, Linux 6.1.0, python 3.11.7, duckdb 2.0.0:" in text
    assert "- 2026-01-01T00:00:00+00:00, commit 0123456789ab: `python -m benchmarks --rounds 2`" in text


def test_readme_gets_the_ratios_with_a_bar_and_the_plot_of_space(sections):
    text = report.block(sections, [Path("ratios.svg"), Path("space.svg")])
    rows = [line for line in text.splitlines() if line.startswith("| ingest")]
    assert rows == [
        "| ingest | ours over SQLite | 0.9x (0.81 .. 0.95) | SQLite | >= 0.8 met | `ingest --scale full --rounds 3` |",
        "| ingest | ours over files | 2.25x (2 .. 2.5) | files | >= 3 **missed** | `ingest --scale full --rounds 3` |",
    ]
    assert "(benchmarks/report/space.svg)" in text
    assert "space.svg" not in report.block(sections, [Path("ratios.svg")])


def test_the_block_is_replaced_and_nothing_else_however_often():
    once = report.with_block(README, "a new table")
    assert once == README.replace("an old table", "a new table")
    assert report.with_block(once, "a new table") == once


@pytest.mark.parametrize("text", ["no marker", report.BEGIN, f"{report.END} {report.BEGIN}"])
def test_a_readme_without_markers_is_an_error(text):
    with pytest.raises(SystemExit, match="wanted a line"):
        report.with_block(text, "a table")


def test_readme_has_the_markers():
    text = report.README.read_text()
    assert report.with_block(text, "")


def test_a_run_of_peers_is_shown_with_the_option_that_asks_for_them():
    run = result("2026-01-01T00:00:00+00:00", peers=SIZES) | {"command": "python -m benchmarks peers --peers"}
    (section,) = newest([run], ["peers"])
    assert section.arguments == "peers --peers --scale full"


def test_a_result_keeps_its_command_without_directories(monkeypatch, tmp_path):
    arguments = ["ingest", "--journal=/home/me/app.ndjson", "--work", "/mnt/disk", "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    command = Run(Options("small", 2, tmp_path)).to_json()["command"]
    assert command == "python -m benchmarks ingest --journal=app.ndjson --work disk --rounds 2"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository with one result, for the command."""
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text(README)
    content = result("2026-01-01T00:00:00+00:00", ingest=INGEST, growth=CURVE, space=SIZES)
    (tmp_path / "results" / "one.json").write_text(json.dumps(content))
    for name, path in (("RESULTS", "results"), ("REPORT", "report"), ("README", "README.md")):
        monkeypatch.setattr(report, name, tmp_path / path)
    monkeypatch.setattr(sys, "argv", ["report"])
    monkeypatch.setattr(report, "WORKLOADS", WORKLOADS)
    return tmp_path


def test_without_matplotlib_nothing_is_written_and_the_extra_is_named(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "benchmarks.plots", raising=False)
    monkeypatch.delattr(benchmarks, "plots", raising=False)
    with pytest.raises(SystemExit, match=r"need matplotlib.*\[bench\]"):
        report.main()
    assert not (place / "report").exists()
    assert (place / "README.md").read_text() == README


def test_no_result_is_an_error(place):
    (place / "results" / "one.json").unlink()
    with pytest.raises(SystemExit, match="python -m benchmarks"):
        report.main()


def test_the_command_writes_table_readme_and_plots_and_the_same_bytes_again(place):
    pytest.importorskip("matplotlib")
    assert report.main() == 0
    written = {path.name: path.read_bytes() for path in (place / "report").iterdir()}
    assert set(written) == {"figures.md", "ratios.svg", "growth.svg", "space.svg"}
    assert "ours over SQLite | 0.9x" in (place / "README.md").read_text()
    assert report.main() == 0
    assert {path.name: path.read_bytes() for path in (place / "report").iterdir()} == written


def test_results_that_newer_ones_replaced_are_named(place, capsys):
    pytest.importorskip("matplotlib")
    newer = result("2026-01-02T00:00:00+00:00", ingest=INGEST, growth=CURVE, space=SIZES)
    (place / "results" / "two.json").write_text(json.dumps(newer))
    report.main()
    assert "not shown, since newer ones took their place: one.json\n" in capsys.readouterr().out


def test_plots_show_ratios_curves_and_sizes_as_text(place):
    pytest.importorskip("matplotlib")
    report.main()
    ratios, growth, space = ((place / "report" / f"{name}.svg").read_text() for name in ("ratios", "growth", "space"))
    for text in ("ours over SQLite", ">0.9x<", "≥ 3  missed", "1 of 2 ratios reach their bar"):
        assert text in ratios
    assert "peak memory" not in ratios
    for text in (">growth: batch, ms, by records in the store<", ">in order: 1.1x its first<"):
        assert text in growth
    for text in (">space, chats: MB on disk<", ">SQLite<", ">1,700 MB<"):
        assert text in space
    for text in ("memory", "pruned"):
        assert text not in space


def test_there_is_no_plot_of_what_nobody_measured(place):
    plots = pytest.importorskip("benchmarks.plots")
    sizes = [replace(figure, unit="s") for figure in SIZES]
    sections = newest([result("2026-01-01T00:00:00+00:00", space=sizes)], WORKLOADS)
    assert plots.write(sections, place) == []


def test_results_are_read_from_files(place):
    (content,) = read_results([place / "results" / "one.json"])
    assert list(content["workloads"]) == ["ingest", "growth", "space"]
