"""How work is measured, judged and written down.

The sides of a comparison run interleaved, one warm-up first, in an order that rotates with the
round, with the disk settled before each; a ratio is taken within a round. So what else the machine
does hits all sides alike, and the spread says how much of it there was. A figure is the median of
its rounds, with their least and greatest.
"""

import gc
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, TypeAlias, TypeVar

from blobs.durable import spread_subdirectories

ROOT = Path(__file__).parent.parent
LIBRARIES = ("duckdb", "isal", "blake3", "msgspec", "arro3-core")

Scale: TypeAlias = Literal["small", "full"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure has to reach."""

    kind: Literal["at most", "at least"]
    limit: float

    def is_met(self, value: float) -> bool:
        """Tell whether a figure reaches the bar."""
        return value <= self.limit if self.kind == "at most" else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.kind == 'at most' else '>='} {self.limit:g}"


def at_most(limit: float) -> Bar:
    """Return a bar that a figure must not pass."""
    return Bar("at most", limit)


def at_least(limit: float) -> Bar:
    """Return a bar that a figure has to reach."""
    return Bar("at least", limit)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: a value for each round."""

    name: str
    unit: str
    values: Sequence[float]
    bar: Bar | None = None
    note: str = ""
    """What a reader has to know; of a comparison, what in it is not like for like."""
    against: str = ""
    """Of a ratio: the baseline."""
    at: int | None = None
    """Of a point on a curve: where on the x axis; points of one name are one curve."""

    @property
    def median(self) -> float:
        """The value it is judged by."""
        return statistics.median(self.values)

    @property
    def label(self) -> str:
        """Its name; of a point on a curve also where that is."""
        return self.name if self.at is None else f"{self.name} at {self.at:,}"

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a result."""
        bar = None if self.bar is None else {**asdict(self.bar), "met": self.bar.is_met(self.median)}
        return {
            "name": self.name, "unit": self.unit, "median": self.median, "min": min(self.values),
            "max": max(self.values), "rounds": list(self.values), "bar": bar, "note": self.note,
            "against": self.against, "at": self.at,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What a run was asked for."""

    scale: Scale
    rounds: int
    work: Path
    journal: Path | None = None
    peers: bool = False
    """Whether products may be installed, each into an environment of its own, and run."""
    slow_rounds: int = 1
    """Rounds of what takes minutes and is not there for its time: one, unless more were asked for."""

    def pick(self, small: T, full: T) -> T:
        """Return the value of this run's scale."""
        return full if self.scale == "full" else small

    def directory(self, name: str) -> Path:
        """Return a fresh directory; it stays until the run ends.

        For minutes ext4 walks around every inode that was just freed, which makes each new file in that
        region of the disk ten times as expensive. So nothing is deleted between two measurements, and
        each of these directories is put into a region of its own.
        """
        return Path(mkdtemp(prefix=f"{name}-", dir=self.work))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Make the work directory, and remove all that was made in it when the block ends."""
        self.work.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.work, os.O_RDONLY)
        spread_subdirectories(fd)
        os.close(fd)
        earlier = set(self.work.iterdir())
        try:
            yield
        finally:
            for path in set(self.work.iterdir()) - earlier:
                shutil.rmtree(path)


@dataclass(slots=True)
class Run:
    """One run: where, of what, and what came out."""

    options: Options
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    load: tuple[float, float, float] = field(default_factory=os.getloadavg)
    workloads: dict[str, list[Figure]] = field(default_factory=dict)

    def write(self, directory: Path) -> Path:
        """Write everything into one new JSON file."""
        directory.mkdir(exist_ok=True)
        path = directory / f"{self.started_at.replace(':', '').replace('+0000', 'Z')}-{self.options.scale}.json"
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")
        return path

    def to_json(self) -> dict[str, Any]:
        """Return all that there is to know of it."""
        journal = self.options.journal
        return {
            "started_at": self.started_at,
            "command": _command(sys.argv[1:]),
            "scale": self.options.scale,
            "rounds": self.options.rounds,
            "journal": None if journal is None else {"name": journal.name, "bytes": journal.stat().st_size},
            "commit": _commit(),
            "machine": _machine(self.options.work) | {"load_at_start": self.load},
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
            "workloads": {name: [figure.to_json() for figure in figures] for name, figures in self.workloads.items()},
        }


def interleave(rounds: int, sides: Mapping[str, Callable[[], T]], *, warm_up: bool = True) -> dict[str, list[T]]:
    """Run every side once a round, and return what each returned, by round; the warm-up does not count."""
    results: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(0 if warm_up else 1, rounds + 1):
        names = list(sides)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            settle()
            result = sides[name]()
            if number:
                results[name].append(result)
    return results


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Divide round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def times_ms(read: Callable[[Any], object], keys: Sequence[Any]) -> list[float]:
    """Read each key once; returns milliseconds."""
    times = []
    for key in keys:
        start = time.perf_counter()
        read(key)
        times.append((time.perf_counter() - start) * 1000)
    return times


def p50(name: str, read: Callable[[Any], object], keys: Sequence[Any], rounds: int, bar: Bar | None = None) -> Figure:
    """Read all keys, a warm-up and then so many rounds, and give the median of each."""
    times = [times_ms(read, keys) for _ in range(rounds + 1)][1:]
    p95 = statistics.median(statistics.quantiles(values, n=20)[-1] for values in times)
    return Figure(f"{name}, p50", "ms", [statistics.median(values) for values in times], bar, f"p95 {p95:.2f} ms")


def settle() -> None:
    """Let nothing that was written before be written back during what is measured next."""
    gc.collect()
    os.sync()


def in_child(task: str, *arguments: str | Path, prefix: Sequence[str] = ()) -> dict[str, Any]:
    """Run one task of `benchmarks.child` in a process of its own; returns its figures."""
    command = [*prefix, sys.executable, "-m", "benchmarks.child", task, *map(str, arguments)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return figures


def disk_bytes(path: Path) -> int:
    """Return what a directory takes up, as `du` counts it."""
    found = 0
    for directory, _, names in os.walk(path):
        found += os.lstat(directory).st_blocks * 512
        found += sum(os.lstat(os.path.join(directory, name)).st_blocks * 512 for name in names)
    return found


def table(workloads: Mapping[str, Sequence[Figure]]) -> str:
    """Lay figures out for a person."""
    rows = [("workload", "figure", "median", "min .. max", "bar", "")]
    for name, figures in workloads.items():
        for figure in figures:
            bar = figure.bar
            verdict = "" if bar is None else f"{bar} {'met' if bar.is_met(figure.median) else 'MISSED'}"
            spread = f"{short(min(figure.values))} .. {short(max(figure.values))}" if len(figure.values) > 1 else ""
            rows.append((name, figure.label, f"{short(figure.median)} {figure.unit}", spread, verdict, figure.note))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join([*map(str.ljust, row[:5], widths), row[5]]).rstrip() for row in rows)


def short(value: float) -> str:
    """Return a number as a reader wants it: three digits, or whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _command(arguments: Sequence[str]) -> str:
    """Return the command line, of paths the names alone: where they lie is this machine's business."""
    return shlex.join(["python", "-m", "benchmarks", *(re.sub(r"[^=]*/(?=.)", "", text) for text in arguments)])


def _commit() -> dict[str, Any]:
    def git(*arguments: str) -> list[str]:
        finished = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return finished.stdout.splitlines()

    changed = git("status", "--short", "blobs", "tracestore", "benchmarks/*.py")
    return {"id": next(iter(git("rev-parse", "HEAD")), ""), "changed_files": len(changed)}


def _machine(work: Path) -> dict[str, Any]:
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    mounts = (line.split() for line in _lines("/proc/mounts"))
    inside = [(mount[1], mount[2]) for mount in mounts if str(work.resolve()).startswith(mount[1])]
    return {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu or platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "file_system": max(inside, key=lambda mount: len(mount[0]))[1] if inside else "",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
