"""Results for a reader: ``python -m benchmarks.report [RESULT.json ...]`` writes tables, plots and README's figures."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS, WORKLOADS
from benchmarks.harness import ROOT, Figure, short
from benchmarks.recorded import Section, newest, read_results

REPORT = Path(__file__).parent / "report"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def main() -> int:
    """Write the report of all results, or of those that were named; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULT.json", help="default: all of results/")
    paths = parser.parse_args().results or sorted(RESULTS.glob("*.json"))
    results = read_results(paths)
    sections = newest(results, WORKLOADS)
    if not sections:
        sys.exit(f"There is no result in {RESULTS}; make one: python -m benchmarks")
    try:
        from benchmarks import plots
    except ImportError as error:
        sys.exit(f"Nothing was written: the plots need {error.name}. Install it: pip install -e '.[bench]'")
    REPORT.mkdir(exist_ok=True)
    drawn = plots.write(sections, REPORT)
    (REPORT / "figures.md").write_text(document(sections, drawn))
    README.write_text(with_block(README.read_text(), block(sections, drawn)))
    print("\n".join(map(str, [*drawn, REPORT / "figures.md", README])))
    shown = [section.run for section in sections]
    idle = [path.name for path, run in zip(paths, results, strict=True) if run not in shown]
    if idle:
        print(f"not shown, since newer ones took their place: {', '.join(idle)}")
    return 0


def document(sections: Sequence[Section], plots: Sequence[Path]) -> str:
    """Return all plots and figures as Markdown, by workload, with the runs they came from at the end."""
    lines = [
        "# Figures",
        "",
        "Written by `python -m benchmarks.report`. How to read this: [benchmarks/README.md](../README.md).",
        *(f"\n![{plot.stem}]({plot.name})" for plot in plots),
    ]
    for section in sections:
        rows = [_row(figure) for figure in section.figures]
        head = ("figure", "median", "min .. max", "bar", "against", "note")
        lines += ["", f"## {section.title}", "", f"`python -m benchmarks {section.arguments}`, {_started(section)}", ""]
        lines += markdown_table(head, rows)
    return "\n".join([*lines, *_runs(sections), ""])


def _runs(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the runs that figures came from, under what they ran on."""
    runs = {section.run["started_at"]: section.run for section in sections}
    places: dict[str, list[str]] = {}
    for started in sorted(runs):
        places.setdefault(_place(runs[started]), []).append(_described(runs[started]))
    yield from ("", "## Runs")
    for place, described in places.items():
        yield from ("", f"On {place}:", "", *described)


def _row(figure: Figure) -> tuple[str, ...]:
    return figure.label, value(figure), spread(figure), verdict(figure), figure.against, figure.note


def block(sections: Sequence[Section], plots: Sequence[Path]) -> str:
    """Return what README shows: the ratios that have a bar, and the plot of space, which no table says as well."""
    rows = [
        (
            section.title,
            figure.label,
            f"{value(figure)} ({spread(figure)})" if len(figure.values) > 1 else value(figure),
            figure.against,
            verdict(figure),
            f"`{section.arguments}`",
        )
        for section in sections
        for figure in section.figures
        if figure.unit == "x" and figure.bar is not None
    ]
    head = ("work", "ratio", "median (min .. max)", "against", "bar", "`python -m benchmarks …`")
    run = max((section.run for section in sections), key=lambda run: run["started_at"])
    lines = [
        *markdown_table(head, rows),
        *("\n![Bytes on disk by scheme](benchmarks/report/space.svg)" for plot in plots if plot.stem == "space"),
        "",
        f"The newest run was on {_machine(run)}.",
        "Everything that was measured, and what in it is not like for like:"
        " [benchmarks/report/figures.md](benchmarks/report/figures.md).",
    ]
    return "\n".join(lines)


def with_block(text: str, content: str) -> str:
    """Return a document with the text between the markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"README.md: wanted a line {BEGIN} and below it {END}; write both where the figures belong")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines; columns that are empty in every row are left out."""
    columns = [number for number in range(len(head)) if any(row[number] for row in rows)]
    yield _line(head[number] for number in columns)
    yield _line("---" for _ in columns)
    for row in rows:
        yield _line(row[number] for number in columns)


def _line(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def value(figure: Figure) -> str:
    """Return the median with its unit."""
    return f"{short(figure.median)}{'' if figure.unit == 'x' else ' '}{figure.unit}"


def spread(figure: Figure) -> str:
    """Return least and greatest; nothing of a single round."""
    return f"{short(min(figure.values))} .. {short(max(figure.values))}" if len(figure.values) > 1 else ""


def verdict(figure: Figure) -> str:
    """Return the bar, and whether it is met."""
    if figure.bar is None:
        return ""
    return f"{figure.bar} met" if figure.bar.is_met(figure.median) else f"{figure.bar} **missed**"


def _started(section: Section) -> str:
    return f"{section.run['scale']} scale, run of {section.run['started_at']}"


def _described(run: Mapping[str, Any]) -> str:
    commit = run["commit"]
    changed = f" with {commit['changed_files']} files changed" if commit["changed_files"] else ""
    command = f": `{run['command']}`" if "command" in run else ""
    return f"- {run['started_at']}, commit {commit['id'][:12]}{changed}{command}"


def _place(run: Mapping[str, Any]) -> str:
    return ", ".join([_machine(run), *(f"{name} {version}" for name, version in run["versions"].items())])


def _machine(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    kernel = machine["system"].partition("-")[0]
    memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB of memory"
    return f"{machine['cores']} cores ({machine['cpu']}), {memory}, {machine['file_system']}, {kernel}"


if __name__ == "__main__":
    sys.exit(main())
