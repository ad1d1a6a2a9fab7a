"""The command: ``python -m benchmarks [WORKLOAD ...] [--scale small|full]``."""

import argparse
import importlib
import sys
import time
from pathlib import Path

from benchmarks.harness import Options, Run, table

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parent / "work"
WORKLOADS = (
    "startup", "ingest", "phases", "syscalls", "growth", "reads", "space", "prune", "memory", "durability", "rebuild",
    "packing", "packed_reads", "packed_space",
)  # fmt: skip


def main() -> int:
    """Run what was asked for; returns 1 when a bar was missed."""
    arguments = _parser().parse_args()
    options = Options(arguments.scale, arguments.rounds, arguments.work, arguments.journal)
    run = Run(options)
    with options.working():
        for name in arguments.workloads or WORKLOADS:
            start = time.perf_counter()
            run.workloads[name] = importlib.import_module(f"benchmarks.workloads.{name}").run(options)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        path = run.write(RESULTS)
    print(table(run.workloads))
    print(f"\nwritten to {path}")
    figures = [figure for figures in run.workloads.values() for figure in figures]
    return int(any(figure.bar is not None and not figure.bar.is_met(figure.median) for figure in figures))


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:13}{_about(name)}" for name in WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"workloads:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", choices=[*WORKLOADS, []], help="all when none is named"
    )
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--rounds", type=int, default=3, help="besides the warm-up; default 3")
    parser.add_argument("--journal", type=Path, help="an NDJSON journal instead of a generated one")
    parser.add_argument("--work", type=Path, default=WORK, help="scratch directory, on the disk to be measured")
    return parser


def _about(name: str) -> str:
    """Return the first line of a workload's docstring without importing it."""
    text = (Path(__file__).parent / "workloads" / f"{name}.py").read_text()
    return text.removeprefix('"""').partition('"""')[0]


if __name__ == "__main__":
    sys.exit(main())
