"""A child that lives the workload under some pressure, says how each error looked, and may go on after it.

Promises are written to a mapped file: that is no system call, so that no fault can reach it. What
is raised goes there too: ``failed`` for errors of ours and for the producer's own calls, ``foreign``
for what came out of the store and is no `TraceStoreError`.
"""

import faulthandler
import json
import mmap
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import acks, kill, workload
from tests.faults.acks import Ack, Event
from tests.faults.kill import Place
from tests.faults.zygote import REPOSITORY, Outcome, Zygote
from tracestore import TraceStore, TraceStoreError

ACK_BYTES = 1 << 17
ENDED = {"op": "ended"}


def live(place: Place, seed: int, ack: Ack) -> None:
    """Live one cycle up to the first error."""
    with noting_errors(ack):
        workload.run(place.store, place.journal, seed, ack)
    ack(ENDED)


class Stubborn(workload._Life):
    """A producer that goes on with the same open store after an error."""

    def __init__(self, place: Place, seed: int, ack: Ack, start: int = 0) -> None:
        super().__init__(place.store, place.journal, seed, ack, start)
        self._ticks = workload.clock(start)

    def live(self, half_time: Callable[[], None] | None = None) -> None:
        """Open the store, live a cycle, another one after ``half_time``, and close."""
        opened = partial(TraceStore, self.store_path, now_ns=self.now_ns)
        with noting_errors(self.ack), workload.scaled_down(), opened() as store:
            self.step(self.cycle, store, random.Random(f"cycle {self.seed} {self.next_number}"))
            if half_time is not None:
                half_time()
                self.step(self.cycle, store, random.Random(f"cycle {self.seed} {self.next_number}"))

    def now_ns(self) -> int:
        """Tell the store's time."""
        return next(self._ticks)

    def step(self, do: Callable[..., None], *args: Any) -> None:
        """Take one step, and note its error."""
        with noting_errors(self.ack):
            do(*args)

    def insert(self, store: TraceStore, count: int) -> None:
        self.step(super().insert, store, count)

    def collect(self, store: TraceStore, count: int, torn: bool = False) -> None:
        self.step(workload.mend_journal, self.journal_path)
        self.step(super().collect, store, count, torn)

    def prune(self, *args: Any) -> None:
        self.step(super().prune, *args)

    def pack(self, *args: Any) -> None:
        self.step(super().pack, *args)

    def unpack(self, *args: Any) -> None:
        self.step(super().unpack, *args)

    def forget(self, *args: Any) -> None:
        self.step(super().forget, *args)

    def snapshot(self, store: TraceStore) -> None:
        self.step(super().snapshot, store)


@contextmanager
def noting_errors(ack: Ack) -> Iterator[None]:
    """Write down what is raised, and go on."""
    try:
        yield
    except TraceStoreError as error:
        ack({"op": "failed", "error": f"{type(error).__name__}: {error}"[:1_000]})
    except Exception as error:
        files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        ours = any(file.is_relative_to(REPOSITORY / package) for file in files for package in ("tracestore", "blobs"))
        text = "".join(traceback.format_exception(error)[-6:])
        ack({"op": "foreign" if ours else "failed", "error": text[-1_000:]})


def acking_in_memory(path: str) -> Ack:
    """Return an `ack` that writes to a mapped file, behind what is there."""
    faulthandler.enable()
    written = Path(path).read_bytes().rstrip(b"\0") if Path(path).exists() else b""
    Path(path).write_bytes(written.ljust(ACK_BYTES, b"\0"))
    with Path(path).open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), ACK_BYTES)
    mapped.seek(len(written))

    def ack(event: Event) -> None:
        mapped.write(json.dumps(event).encode() + b"\n")

    return ack


def ending(outcome: Outcome, events: list[Event], *, may_die: bool = False) -> Iterator[str]:
    """Yield what is wrong with how a life ended."""
    if outcome.hung:
        yield "it hung"
    elif outcome.signal is not None and not (may_die and outcome.was_killed):
        yield f"it was ended by signal {outcome.signal}"
    elif events[-1:] != [ENDED] and not may_die:
        yield f"it ended without a word: {outcome.error}"
    for event in events:
        if event["op"] == "foreign":
            yield f"an error that is not ours: {event['error']}"


def judge(zygote: Zygote, place: Place, seed: int, number: int) -> tuple[list[str], Sequence[str]]:
    """Return the oracle's violations and notes; it works in a child, too. A third each loses or tears the database."""
    outcome = zygote.run(kill.judge, place, seed, ("never", "after", "torn after")[number % 3])
    return ([f"the oracle failed: {outcome.error or outcome}"], ()) if outcome.value is None else outcome.value


def read_events(place: Place) -> list[Event]:
    """Return what was written to a mapped file, the zeros behind it left out."""
    return acks.parse(Path(place.acks).read_bytes().rstrip(b"\0")) if Path(place.acks).exists() else []
