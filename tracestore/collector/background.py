"""Packing beside the collector: a thread, started when it is due, stopped when it is in the way."""

import threading
from typing import TYPE_CHECKING

from tracestore.errors import TraceStoreError
from tracestore.maintenance.summary import PackReport

if TYPE_CHECKING:
    from tracestore.store import TraceStore

SETTLED_MS = 60_000
"""Bodies younger than this stay where they are: others of their conversation are about to come."""


class BackgroundPacking:
    """Packs one store in a thread of its own, one run at a time."""

    def __init__(self, store: "TraceStore") -> None:
        self._store = store
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._done: PackReport | TraceStoreError | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether a run goes on, or one has ended and `take` was not called since."""
        return self._thread is not None

    def start(self) -> None:
        """Begin a run, unless one goes on."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="packing")
            self._thread.start()

    def take(self) -> PackReport | TraceStoreError | None:
        """Return how a run ended, once; None while it goes on, and where there is none."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread.join()
        done, self._thread, self._done = self._done, None, None
        return done

    def stop(self) -> None:
        """End a run at its next body, and wait for that."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._done = self._store.pack(settled_ms=SETTLED_MS, is_stopped=self._stop.is_set)
        except TraceStoreError as error:
            self._done = error
