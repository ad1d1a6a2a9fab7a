"""Results read back from their JSON: for each workload and journal the newest, full scale before small."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Bar, Figure


@dataclass(frozen=True, slots=True)
class Section:
    """What one run gave of one workload."""

    workload: str
    run: Mapping[str, Any]
    """The whole result: machine, versions, commit, scale…"""
    figures: Sequence[Figure]

    @property
    def journal(self) -> str:
        """The name of the journal; empty when it was generated."""
        return (self.run["journal"] or {}).get("name", "")

    @property
    def title(self) -> str:
        """Workload and journal."""
        return f"{self.workload}, {self.journal.removesuffix('.ndjson')}" if self.journal else self.workload

    @property
    def arguments(self) -> str:
        """What to give `python -m benchmarks` for this alone."""
        rounds = max(len(figure.values) for figure in self.figures)
        options = {
            "--peers": "--peers" in self.run.get("command", ""),
            "--scale full": self.run["scale"] == "full",
            f"--journal {self.journal}": bool(self.journal),
            f"--rounds {rounds}": rounds > 1,
        }
        return " ".join([self.workload, *(option for option, is_given in options.items() if is_given)])


def read_results(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read result files."""
    return [json.loads(path.read_text()) for path in paths]


def newest(results: Iterable[Mapping[str, Any]], workloads: Sequence[str]) -> list[Section]:
    """Choose for each of these workloads, in this order, and each journal the run to show."""
    chosen: dict[tuple[int, str], Section] = {}
    for run in sorted(results, key=lambda run: (run["scale"] == "full", run["started_at"])):
        for workload, figures in run["workloads"].items():
            if workload in workloads and figures:
                section = Section(workload, run, [_figure(figure) for figure in figures])
                chosen[workloads.index(workload), section.journal] = section
    return [chosen[key] for key in sorted(chosen)]


def _figure(entry: Mapping[str, Any]) -> Figure:
    bar = entry["bar"]
    return Figure(
        entry["name"], entry["unit"], entry["rounds"], None if bar is None else Bar(bar["kind"], bar["limit"]),
        entry["note"], entry.get("against", ""), entry.get("at"),
    )  # fmt: skip
