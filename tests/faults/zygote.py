"""A process that has imported everything and forks one child for each try.

A fork costs milliseconds, starting an interpreter with DuckDB in it 300. The zygote is a process
of its own, in which no thread ever ran: the test process may have threads, and a fork copies only
the one that calls it. A try is a function of a module with arguments that can be pickled::

    with Zygote() as zygote:
        child = zygote.start(workload.run, store, journal, seed)   # child.pid runs
        os.kill(child.pid, signal.SIGKILL)                         # or strace, or an ioctl
        outcome = child.wait()

A child's number is not given out again before `wait` has returned.
"""

import ctypes
import importlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

REPOSITORY = Path(__file__).resolve().parents[2]
IMPORTED = (
    "duckdb", "tracestore.store", "tracestore.collector", "tracestore.database.reader", "tracestore.database.query",
    "tracestore.database.compaction", "tracestore.store.write_side", "tracestore.maintenance.prune",
    "tracestore.maintenance.verify", "tracestore.maintenance.rebuild", "tests.faults.oracle", "tests.faults.steps",
)  # fmt: skip
TIMEOUT_S = 60.0
_DEATH_SIGNAL = 1  # linux/prctl.h
_prctl = ctypes.CDLL(None).prctl


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended: what it returned, or the text of what it raised, or the signal that killed it."""

    value: Any = None
    error: str | None = None
    signal: int | None = None
    hung: bool = False

    @property
    def was_killed(self) -> bool:
        """Tell whether kill -9 ended it, and not because it hung."""
        return self.signal == signal.SIGKILL and not self.hung


class Child:
    """A running try."""

    def __init__(self, zygote: "Zygote", pid: int) -> None:
        self._zygote = zygote
        self.pid = pid

    def kill(self) -> None:
        """End it with kill -9; one that has ended already is left as it is."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout_s: float = TIMEOUT_S) -> Outcome:
        """Wait for its end; one that takes longer is killed and counts as hung. Call it once."""
        outcome: Outcome = self._zygote._ask(("wait", self.pid, timeout_s))
        return outcome


class Zygote:
    """The process that forks; children end before it does."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import _serve; _serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=REPOSITORY,
        )  # fmt: skip

    def start(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Child:
        """Start a function of a module in a child of its own."""
        pid: int = self._ask(("start", function.__module__, function.__qualname__, args, kwargs))
        return Child(self, pid)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Outcome:
        """Start a function and wait for its end."""
        return self.start(function, *args, **kwargs).wait()

    def close(self) -> None:
        """End the process; may be called twice."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, question: Any) -> Any:
        _send(self._process.stdin, question)
        answer = _receive(self._process.stdout)
        if answer is None:
            raise RuntimeError(f"the zygote ended with {self._process.wait()}; see what it wrote above")
        return answer


def _serve() -> None:
    """Be the zygote: answer questions on standard input until it ends."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a child prints must not be taken for an answer
    for name in IMPORTED:
        importlib.import_module(name)
    results: dict[int, int] = {}
    while (question := _receive(questions)) is not None:
        what, *about = question
        if what == "start":
            pid, results_fd = _fork(*about)
            results[pid] = results_fd
            _send(answers, pid)
        else:
            pid, timeout_s = about
            _send(answers, _end_of(pid, results.pop(pid), timeout_s))


def _fork(module: str, name: str, args: Any, kwargs: Any) -> tuple[int, int]:
    readable, writable = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writable)
        return pid, readable
    try:
        _prctl(_DEATH_SIGNAL, signal.SIGKILL)  # no try outlives a campaign that is broken off
        os.closerange(3, writable)  # the zygote's own, and other children's
        os.closerange(writable + 1, 256)
        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        result = Outcome(value=function(*args, **kwargs))
    except BaseException:
        result = Outcome(error=traceback.format_exc())
    try:
        with os.fdopen(writable, "wb") as stream:
            pickle.dump(result, stream)
    finally:
        os._exit(0)


def _end_of(pid: int, results_fd: int, timeout_s: float) -> Outcome:
    with os.fdopen(results_fd, "rb") as stream:
        hung = not select.select([stream], [], [], timeout_s)[0]
        if hung:
            os.kill(pid, signal.SIGKILL)
        content = stream.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Outcome(signal=os.WTERMSIG(status), hung=hung)
    with suppress(EOFError, pickle.UnpicklingError):
        outcome: Outcome = pickle.loads(content)
        return outcome
    return Outcome(error=f"ended with status {status} and no result", hung=hung)


def _send(stream: BinaryIO, value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack("<I", len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO) -> Any:
    header = stream.read(4)
    return pickle.loads(stream.read(struct.unpack("<I", header)[0])) if header else None
