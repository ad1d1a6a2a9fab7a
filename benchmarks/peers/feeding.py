"""What the scripts of all peers share: their arguments, their clock, and the figures they print."""

import json
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

Feed = Callable[[Path, Path], dict[str, float]]
"""Feed a journal into a directory; returns at least ``calls``."""
Delete = Callable[[int, Path], dict[str, float]]
"""Delete what started before a time, milliseconds, from a directory."""


def main(distribution: str, feed: Feed, delete: Delete | None = None) -> None:
    """Do what the command line says, and print its figures as one line of JSON."""
    task, what, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    start = time.perf_counter()
    if task == "feed":
        (directory / "store").mkdir()
        own = feed(Path(what), directory / "store")
    elif delete is not None:
        own = delete(int(what), directory / "store")
    else:
        raise SystemExit(f"{distribution}: wanted feed, found {task}: it has no way to delete by age")
    figures = {"wall_s": time.perf_counter() - start, "peak_rss_bytes": peak_rss_bytes("self")}
    print(json.dumps(figures | {"version": version(distribution)} | own))


def peak_rss_bytes(pid: int | str) -> int:
    """Return the greatest resident memory of a process, as Linux knows it; 0 elsewhere."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    return int(found[1]) * 1024 if found else 0
