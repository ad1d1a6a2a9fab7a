"""What `tracestore collect` says while it works: to people, or to programs."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tracestore.cli.output import StatusLine, print_json_line, print_text, say
from tracestore.cli.wording import packed_text, pruned_text
from tracestore.collector import (
    Collected,
    CollectFailed,
    Collector,
    Event,
    Idle,
    Packed,
    PackFailed,
    Pruned,
    PruneFailed,
    SnapshotFailed,
    Torn,
)
from tracestore.errors import TraceStoreError, message_of
from tracestore.units import format_duration_ms, format_size_bytes
from tracestore.views.values import utc_text

RATE_WINDOW_S = 3.0
REFRESH_S = 0.25


@dataclass(slots=True)
class Run:
    """The figures of one run."""

    inserted: int = 0
    duplicates: int = 0
    rejected: int = 0
    journal_bytes: int = 0
    waiting_bytes: int = 0

    @property
    def records_in(self) -> int:
        """Every line that was read is one of the three."""
        return self.inserted + self.duplicates + self.rejected

    def take(self, event: Collected) -> None:
        """Take over the totals of a batch."""
        self.inserted, self.duplicates = event.total_inserted, event.total_duplicates
        self.rejected, self.waiting_bytes = event.total_rejected, event.waiting_bytes
        self.journal_bytes += event.journal_bytes


class JsonReport:
    """One JSON object per line on stdout."""

    def __init__(self) -> None:
        self.prune_error: TraceStoreError | None = None
        self._run = Run()

    def __call__(self, event: Event) -> None:
        """Report one event."""
        if isinstance(event, Idle):
            return
        if isinstance(event, Collected):
            self._run.take(event)
            self._print("collected", asdict(event))
        elif isinstance(event, CollectFailed):
            self._print("collect_failed", _error_members(event.error) | {"waiting_bytes": event.waiting_bytes})
        elif isinstance(event, Torn):
            self._print("torn", asdict(event))
        elif isinstance(event, Pruned):
            self.prune_error = None
            self._print("pruned", asdict(event.summary))
        elif isinstance(event, PruneFailed):
            self.prune_error = event.error
            self._print("prune_failed", _error_members(event.error))
        elif isinstance(event, Packed):
            self._print("packed", asdict(event.report))
        elif isinstance(event, PackFailed):
            self._print("pack_failed", _error_members(event.error))
        elif isinstance(event, SnapshotFailed):
            self._print("snapshot_failed", _error_members(event.error))
        else:
            self._print("notice", {"notice": event.kind.value} | _without(asdict(event), "kind"))

    def tell(self, sentence: str) -> None:
        """Report a sentence."""
        self._print("notice", {"notice": "message", "sentence": sentence})

    @contextmanager
    def until_done(self, collector: Collector) -> Iterator[None]:
        """Report the sum at the end."""
        started = time.monotonic()
        yield
        members = asdict(self._run) | {"records_in": self._run.records_in, "torn_bytes": collector.torn_bytes}
        seconds = round(time.monotonic() - started, 3)
        self._print("done", _without(members, "waiting_bytes") | {"seconds": seconds})

    def _print(self, event: str, members: dict[str, Any]) -> None:
        print_json_line({"event": event, "time": utc_text(datetime.now(UTC).replace(tzinfo=None))} | members)


class PeopleReport:
    """Sentences on stderr, a status line where that is a terminal, the sum on stdout."""

    def __init__(self, rejected: Path) -> None:
        self.prune_error: TraceStoreError | None = None
        self._rejected = rejected
        self._run = Run()
        self._line = StatusLine(sys.stderr)
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._shown_at = 0.0
        self._is_failing = False

    def __call__(self, event: Event) -> None:
        """Report one event."""
        if isinstance(event, Collected):
            self._run.take(event)
            if event.rejected:
                lines = "line is" if event.rejected == 1 else "lines are"
                self.tell(f"{event.rejected} {lines} no record; {self._rejected} has them, and why")
        elif isinstance(event, Pruned):
            self.prune_error = None
            if event.summary.records_deleted or event.summary.bodies_deleted:
                self.tell(pruned_text(event.summary))
        elif isinstance(event, PruneFailed):
            self.prune_error = event.error
            self.tell(_sentence(event))
        elif isinstance(event, CollectFailed):
            if not self._is_failing:  # once, though it fails again every few seconds
                self.tell(_sentence(event))
        elif not isinstance(event, Idle | Torn):
            sentence = _sentence(event)
            if sentence:
                self.tell(sentence)
        self._note_failing(event)
        self._refresh()

    def tell(self, sentence: str) -> None:
        """Say a sentence, above the status line."""
        self._line.clear()
        say(sentence)

    @contextmanager
    def until_done(self, collector: Collector) -> Iterator[None]:
        """Say the sum at the end."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._line.clear()
        run = self._run
        took = format_duration_ms((time.monotonic() - started) * 1000)
        torn = f"; {collector.torn_bytes} bytes of an unfinished line wait" if collector.torn_bytes else ""
        print_text(
            f"{run.records_in:,} records in = {run.inserted:,} inserted + {run.duplicates:,} duplicates"
            f" + {run.rejected:,} rejected; {format_size_bytes(run.journal_bytes)} of journal in {took}{torn}"
        )

    def _note_failing(self, event: Event) -> None:
        if self._is_failing and isinstance(event, Collected | Idle):
            self.tell("the disk takes it again; collecting goes on")
        if isinstance(event, Collected | Idle | CollectFailed):
            self._is_failing = isinstance(event, CollectFailed)

    def _refresh(self) -> None:
        now = time.monotonic()
        if not self._line.is_shown or now - self._shown_at < REFRESH_S:
            return
        self._shown_at = now
        run = self._run
        self._seen.append((now, run.records_in))
        while len(self._seen) > 1 and now - self._seen[0][0] > RATE_WINDOW_S:
            self._seen.popleft()
        since, before = self._seen[0]
        rate = (run.records_in - before) / (now - since) if now > since else 0.0
        rejected = f", {run.rejected:,} rejected" if run.rejected else ""
        behind = f"{format_size_bytes(run.waiting_bytes)} behind" if run.waiting_bytes else "up to date"
        self._line.show(f"{run.records_in:,} records, {rate:,.0f}/s{rejected}, {behind}")


def _sentence(event: Event) -> str:
    if isinstance(event, PruneFailed):
        return f"prune failed and is tried again at its next turn: {event.error}"
    if isinstance(event, CollectFailed):
        return f"collecting failed and is tried again every few seconds: {message_of(event.error)}"
    if isinstance(event, PackFailed):
        return f"packing failed and is tried again at its next turn: {event.error}"
    if isinstance(event, SnapshotFailed):
        return f"a backup asked for a snapshot, which failed; it has to do with the one before: {event.error}"
    if isinstance(event, Packed):
        return packed_text(event.report) if event.report.bodies else ""
    return f"warning: {event}" if getattr(event, "is_warning", False) else str(event)


def _error_members(error: TraceStoreError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error)}


def _without(members: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name != key}
