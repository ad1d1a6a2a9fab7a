"""The undo log of a repair: every action, written and durable before it is done.

``STORE/repairs/<time>.ndjson`` holds one JSON object per action, in their order: what was done to
what, and what was there before. It is for a person; nothing reads it by itself::

    {"action": "set aside", "path": "objects/ab/abcd.gz", "to": "quarantine/abcd.gz"}
    {"action": "put back", "digest": "abcd...", "from": "quarantine/abcd.gz.1", "size_bytes": 120}
    {"action": "correct", "digest": "abcd...", "before": [...], "after": {...}, "record_sizes": [5, 120]}
    {"action": "protect", "path": "objects/ab/abcd.gz"}
    {"action": "renew", "path": "STORE/snapshots/...", "to": "STORE/snapshots/....damaged"}
    {"action": "done"}

A log without its last line is of a repair that was cut short: run it again, it goes on.
"""

import json
import os
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from tracestore.directory.disk_errors import disk_errors_translated
from tracestore.journal import disk
from tracestore.layout import DIRECTORY_MODE


class UndoLog:
    """Made with its first entry, so that a repair that finds nothing to do leaves nothing behind."""

    def __init__(self, directory: Path, now_ns: int) -> None:
        self._directory = directory
        self._stamp = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._fd = -1
        self.path: str | None = None

    def write(self, *entries: dict[str, Any]) -> None:
        """Append entries; they are durable when it returns."""
        if not entries:
            return
        if self.path is None:
            self._create()
        assert self.path is not None
        with disk_errors_translated("write the undo log", self.path):
            disk.write_all(self._fd, b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
        disk.sync_written(self._fd, self.path)

    def __enter__(self) -> "UndoLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd < 0:
            return
        try:
            if kind is None:
                self.write({"action": "done"})
        finally:
            os.close(self._fd)
            self._fd = -1

    def _create(self) -> None:
        with disk_errors_translated("make the directory of undo logs", str(self._directory)):
            self._directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        disk.sync_directory(str(self._directory.parent))
        for number in count():
            path = str(self._directory / f"{self._stamp}{f'-{number}' if number else ''}.ndjson")
            fd = disk.create_exclusive(path)
            if fd is not None:
                self._fd, self.path = fd, path
                break
        disk.sync_directory(str(self._directory))
