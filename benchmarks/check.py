"""The guard: did a ratio lose against the committed reference, by more than the noise that was measured?

Only ratios are compared, for they outlast the machine. A ratio is *lost* when both hold:

- its median is more than a tenth worse than the reference's, and
- its best round is worse than the reference's worst round.

*Gained* is the same turned round. A workload with a loss runs once more, and the rounds of both runs count
together: what else the machine did seldom comes twice. For the same reason a reference holds the rounds of
two runs. A ratio of the reference that no run gave is *missing*, which is as bad as lost.
"""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from benchmarks.harness import Run, short

REFERENCE = Path(__file__).parent / "reference.json"
TOLERANCE = 0.1
"""What a median may lose before anybody asks whether it is noise."""

Measure: TypeAlias = Callable[[Sequence[str]], Run]
Verdict: TypeAlias = Literal["lost", "missing", "gained", "new", "held"]
RECORD = "record one: python -m benchmarks --check --record"
BAD = ("lost", "missing")


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better than the baseline, by round."""

    rounds: tuple[float, ...]
    is_less_better: bool = False

    @property
    def scores(self) -> list[float]:
        """Rounds, turned so that more is better."""
        return [1 / value for value in self.rounds] if self.is_less_better else list(self.rounds)

    def __str__(self) -> str:
        return f"{short(statistics.median(self.rounds))}x ({short(min(self.rounds))} .. {short(max(self.rounds))})"


Ratios: TypeAlias = dict[tuple[str, str], Ratio]
"""By workload and figure."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One ratio, then and now."""

    verdict: Verdict
    workload: str
    figure: str
    before: Ratio | None
    now: Ratio | None


def check(names: Sequence[str], measure: Measure, path: Path) -> int:
    """Run workloads (all of the reference when none is named) and print what changed; returns the exit code."""
    reference = _read(path)
    names = names or list(reference["ratios"])
    unknown = [name for name in names if name not in reference["ratios"]]
    if unknown:
        raise SystemExit(
            f"The reference has ratios of {', '.join(reference['ratios'])}, not of {', '.join(unknown)}."
            f" Name others, or {RECORD}"
        )
    before = {key: ratio for key, ratio in from_reference(reference).items() if key[0] in names}
    run = measure(names)
    found = of_run(run)
    doubtful = sorted({judged.workload for judged in compare(before, found) if judged.verdict == "lost"})
    if doubtful:
        found = pooled(found, of_run(measure(doubtful)))
    judged = compare(before, found)
    print("\n".join([*differences(reference, run.to_json()), *table(judged)]))
    return int(any(one.verdict in BAD for one in judged))


def record(names: Sequence[str], measure: Measure, path: Path) -> int:
    """Run all workloads twice and write their ratios as the new reference; returns the exit code."""
    run = measure(names)
    ratios = pooled(of_run(run), of_run(measure(names)))
    path.write_text(json.dumps(to_reference(run.to_json(), ratios), indent=1) + "\n")
    print(f"{len(ratios)} ratios written to {path}")
    return 0


def judge(before: Ratio, now: Ratio) -> Verdict:
    """Tell whether a ratio lost or gained beyond noise."""
    then, since = before.scores, now.scores
    change = statistics.median(since) / statistics.median(then)
    if change < 1 - TOLERANCE and max(since) < min(then):
        return "lost"
    if change > 1 / (1 - TOLERANCE) and min(since) > max(then):
        return "gained"
    return "held"


def compare(before: Ratios, now: Ratios) -> list[Judged]:
    """Judge every ratio of both, the worst first."""
    judged = [
        Judged(judge(then, now[key]) if key in now else "missing", *key, then, now.get(key))
        for key, then in before.items()
    ]
    judged += [Judged("new", *key, None, ratio) for key, ratio in now.items() if key not in before]
    order = (*BAD, "gained", "new", "held")
    return sorted(judged, key=lambda one: order.index(one.verdict))


def pooled(first: Ratios, second: Ratios) -> Ratios:
    """Put the rounds of two runs together."""
    both = dict(first)
    for key, ratio in second.items():
        both[key] = Ratio((*first[key].rounds, *ratio.rounds), ratio.is_less_better) if key in first else ratio
    return both


def of_run(run: Run) -> Ratios:
    """Return the ratios of a run."""
    return {
        (workload, figure.label): Ratio(tuple(figure.values), figure.bar is not None and figure.bar.kind == "at most")
        for workload, figures in run.workloads.items()
        for figure in figures
        if figure.unit == "x"
    }


def to_reference(run: Mapping[str, Any], ratios: Ratios) -> dict[str, Any]:
    """Return a reference as it is committed: where and of what it was measured, then the ratios by workload."""
    by_workload: dict[str, dict[str, Any]] = {}
    for (workload, figure), ratio in ratios.items():
        rounds = [float(f"{value:.4g}") for value in sorted(ratio.rounds)]
        entry = {"rounds": rounds, "is_less_better": ratio.is_less_better}
        by_workload.setdefault(workload, {})[figure] = entry
    return {key: run[key] for key in ("started_at", "commit", "machine", "versions")} | {"ratios": by_workload}


def from_reference(reference: Mapping[str, Any]) -> Ratios:
    """Return the ratios of a reference."""
    return {
        (workload, figure): Ratio(tuple(entry["rounds"]), entry["is_less_better"])
        for workload, figures in reference["ratios"].items()
        for figure, entry in figures.items()
    }


def differences(reference: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line when the reference was measured elsewhere or with something else."""
    then, now = (
        {name: side["machine"].get(name) for name in ("cpu", "cores", "file_system")} | side["versions"]
        for side in (reference, run)
    )
    changed = [name for name in then if then[name] != now.get(name)]
    if changed:
        was, is_now = (", ".join(f"{name} {side.get(name)}" for name in changed) for side in (then, now))
        yield f"The reference was measured with {was}; this run with {is_now}. Ratios are compared all the same.\n"


def table(judged: Sequence[Judged]) -> Iterator[str]:
    """Yield lines: what did not hold, with both sides, and how much did."""
    held = sum(one.verdict == "held" for one in judged)
    rows = [("", "workload", "figure", "reference", "now")]
    rows += [
        (one.verdict, one.workload, one.figure, str(one.before or ""), str(one.now or ""))
        for one in judged
        if one.verdict != "held"
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if len(rows) > 1:
        yield from ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    yield f"{held} of {len(judged)} ratios held"


def _read(path: Path) -> dict[str, Any]:
    try:
        reference: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise SystemExit(f"There is no reference at {path}; {RECORD}") from None
    return reference
