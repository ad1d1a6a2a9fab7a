"""A store that this process holds and answers for, and the same store asked through its socket."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tracestore import TraceStore
from tracestore.serve.health import Status
from tracestore.serve.server import Server


@pytest.fixture
def answering() -> Iterator[Callable[..., Server]]:
    """`answering(store)` answers at the socket of a store, until the end of the test."""
    with ExitStack() as stack:
        yield lambda store, **options: stack.enter_context(Server(store, Status(), **options))


@pytest.fixture
def both(open_store: Any, answering: Any, make: Any) -> tuple[TraceStore, TraceStore]:
    """A store with a turn of two bodies and some logs; and the one that asks it."""
    held = open_store()
    held.insert_records([*make.turn("t", request="Grüße", response=b"\x00\xff"), make.log(msg="alone")])
    answering(held)
    return held, TraceStore(held.path, read_only=True)
