"""The command line in this process and as a process, and a store to point it at."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tracestore import TraceStore
from tracestore.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent.parent
VARIABLES = ("TRACESTORE_DIR", "TRACESTORE_MAX_AGE", "TRACESTORE_MAX_BODY_BYTES", "TRACESTORE_DEBUG")
PRESENT_BODY = json.dumps({"messages": [{"role": "user", "content": "Grüße 世界\n\x1b[2J"}]}, ensure_ascii=False)
BINARY_BODY = b"\x89PNG\r\n\x1a\n\x00\xff"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def cli() -> Callable[..., Result]:
    """`cli("list", "--json")` runs a command line in this process."""

    def run(*arguments: object, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, env=env)

    return run


@pytest.fixture
def process() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """`process("collect", ...)` starts a command line as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, stdout: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
        one = subprocess.Popen(
            [sys.executable, "-m", "tracestore", *map(str, arguments)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            # A shell makes what it starts in the background deaf to Ctrl-C, and with that all that is started there.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(one)
        return one

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


@pytest.fixture
def filled(tmp_path: Path, make: Any, now_ms: int) -> Path:
    """A closed store: a turn that is well, a later one with an error, an open one, a log without a turn."""
    path = tmp_path / "filled"
    in_error = {"turnId": "t-error", "conversationId": "c-2"}
    in_open = {"turnId": "t-open", "conversationId": "c-2"}
    with TraceStore(path) as store:
        store.insert_records(
            [
                *make.turn("well", now_ms, request=PRESENT_BODY, response="short"),
                make.opened("s-error", now_ms + 60_000, "provider.request", attributes={"model": "m-1"}, **in_error),
                make.closed(
                    "s-error", now_ms + 61_500, "provider.request", durationMs=1500, status="error",
                    attributes={"inputTokens": 12, "outputTokens": 3}, body=BINARY_BODY, **in_error,
                ),
                make.opened("s-open", now_ms + 120_000, "tool.call\nof \x1b[31mtwo", **in_open),
                make.log(now_ms - 1000, "no turn"),
            ]
        )  # fmt: skip
    return path


@pytest.fixture
def listing() -> Callable[[Path], list[str]]:
    """Everything below a directory, to tell that a command made nothing."""

    def names(root: Path) -> list[str]:
        return sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    return names


@pytest.fixture
def record_id(filled: Path) -> Callable[[str], str]:
    """`record_id("kind = 'log'")` finds one record of the filled store."""

    def find(where: str) -> str:
        with TraceStore(filled, create=False, read_only=True) as store:
            row = store.sql(f"SELECT record_id FROM records WHERE {where}").fetchone()
        assert row is not None
        return str(row[0])

    return find
