"""Start of the command line and of the import, as whole processes, less a bare interpreter or not."""

import os
import subprocess
import sys
import time
from functools import partial

from benchmarks.harness import ROOT, Figure, Options, at_most, interleave, ratios

HELP = "import sys; sys.argv = ['tracestore', '--help']; from tracestore.cli import main; main()"
IMPORT = "import tracestore, sys; sys.exit('duckdb' in sys.modules)"
REPEATS = 10


def run(options: Options) -> list[Figure]:
    """Start each program a few times a round."""
    programs = {"tracestore --help": HELP, "import tracestore": IMPORT, "bare interpreter": "pass"}
    results = interleave(options.rounds, {name: partial(start_ms, code) for name, code in programs.items()})
    bars = {"tracestore --help": at_most(150)}
    bare = results["bare interpreter"]
    over = ratios(results["tracestore --help"], bare)
    return [
        *(Figure(name, "ms", values, bars.get(name)) for name, values in results.items()),
        Figure("tracestore --help over a bare interpreter", "x", over, at_most(8), against="python -c pass"),
    ]


def start_ms(code: str) -> float:
    """Return how long an interpreter takes for a program, from its start to its end, once its bytecode is kept."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    for _ in range(REPEATS):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) / REPEATS * 1000
