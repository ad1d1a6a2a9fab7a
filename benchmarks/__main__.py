"""The command: ``python -m benchmarks [WORKLOAD ...] [--scale small|full]``."""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.check import REFERENCE, check, record
from benchmarks.harness import Options, Run, table

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parent / "work"
DEFAULT_ROUNDS = 3
WORKLOADS = (
    "startup", "ingest", "phases", "growth", "bodies", "views", "sql", "space", "prune", "memory", "durability",
    "rebuild", "packing", "packed_reads", "capture", "otlp", "live", "peers",
)  # fmt: skip


def main() -> int:
    """Run what was asked for; returns 1 when a bar was missed, or a ratio lost against the reference."""
    parser = _parser()
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.workloads if name not in WORKLOADS]:
        parser.error(f"wanted workloads out of {' '.join(WORKLOADS)}, found {' '.join(unknown)}")
    if arguments.journal is not None and not arguments.journal.is_file():
        parser.error(f"--journal: wanted a file of one JSON object a line, found none at {arguments.journal}")
    options = Options(
        arguments.scale, arguments.rounds or DEFAULT_ROUNDS, arguments.work, arguments.journal,
        peers=arguments.peers, slow_rounds=arguments.rounds or 1,
    )  # fmt: skip
    measure = partial(_measure, options)
    if (arguments.check or arguments.record) and (options.scale == "full" or options.journal):
        parser.error("the reference is of small scale and generated journals: leave --scale and --journal out")
    if arguments.record and arguments.workloads:
        parser.error("a reference is of one machine and one commit: --record takes every workload, name none")
    if arguments.record:
        return record(WORKLOADS, measure, REFERENCE)
    if arguments.check:
        return check(arguments.workloads, measure, REFERENCE)
    run = measure(arguments.workloads or WORKLOADS)
    path = run.write(RESULTS)
    print(table(run.workloads))
    print(f"\nwritten to {path}")
    figures = [figure for figures in run.workloads.values() for figure in figures]
    return int(any(figure.bar is not None and not figure.bar.is_met(figure.median) for figure in figures))


def _measure(options: Options, names: Sequence[str]) -> Run:
    run = Run(options)
    with options.working():
        for name in names:
            start = time.perf_counter()
            run.workloads[name] = importlib.import_module(f"benchmarks.workloads.{name}").run(options)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return run


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:13}{_about(name)}" for name in WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"workloads:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="all when none is named")
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--rounds", type=int, help="besides the warm-up; default 3, of peers 1")
    parser.add_argument("--journal", type=Path, help="an NDJSON journal instead of a generated one")
    parser.add_argument("--work", type=Path, default=WORK, help="scratch directory, on the disk to be measured")
    parser.add_argument("--peers", action="store_true", help="run products from PyPI too; installs 2 GB, once")
    parser.add_argument("--check", action="store_true", help="compare ratios with the reference; 1 when one lost")
    parser.add_argument("--record", action="store_true", help="with --check: write the reference anew")
    return parser


def _about(name: str) -> str:
    """Return the first line of a workload's docstring without importing it."""
    place = Path(__file__).parent / "workloads" / name
    text = (place / "__init__.py" if place.is_dir() else place.with_suffix(".py")).read_text()
    return text.removeprefix('"""').partition('"""')[0]


if __name__ == "__main__":
    sys.exit(main())
