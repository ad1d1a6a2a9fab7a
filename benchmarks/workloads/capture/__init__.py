"""What capture costs an application: spans, streamed calls, import; and whether kills and a full disk cost records."""

from functools import partial

from benchmarks.harness import Figure, Options, at_most, interleave
from benchmarks.workloads.capture import crowd, full_disk, spans, streams
from benchmarks.workloads.startup import start_ms


def run(options: Options) -> list[Figure]:
    """Measure speed first, then look for what is lost."""
    parts = (_import, spans.run, streams.run, crowd.run, full_disk.run)
    return [figure for part in parts for figure in part(options)]


def _import(options: Options) -> list[Figure]:
    programs = {"capture": "import tracestore.capture", "bare": "pass"}
    times = interleave(options.rounds, {name: partial(start_ms, code) for name, code in programs.items()})
    over = [captured - bare for captured, bare in zip(times["capture"], times["bare"], strict=True)]
    return [Figure("import tracestore.capture", "ms", over, at_most(50), "more than a bare interpreter takes")]
