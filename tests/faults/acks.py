"""What a workload was promised, written where no fault reaches it: one JSON line for each event.

An event is one write to a file that belongs to the campaign, so that it is whole or not there,
whatever becomes of the process. The workload writes ``...-begins`` before what may be cut short,
and the bare word once the call has returned: that is the promise.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Ack = Callable[[Event], None]


def writing_to(fd: int) -> Ack:
    """Return an `ack` that writes each event to an open file or pipe."""

    def ack(event: Event) -> None:
        os.write(fd, json.dumps(event).encode() + b"\n")

    return ack


def appending_to(path: str | Path) -> Ack:
    """Return an `ack` that appends each event to a file; the file stays open with this process."""
    return writing_to(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))


def parse(data: bytes) -> list[Event]:
    """Return the events in what was written; a torn last line is none."""
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def read(path: str | Path) -> list[Event]:
    """Return the events of a file, none where there is no file."""
    path = Path(path)
    return parse(path.read_bytes()) if path.exists() else []
