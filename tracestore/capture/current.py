"""The current span of a thread or task, for those who opt in: parent of what is recorded without another.

A task of asyncio inherits it, as `asyncio.to_thread` does. A thread begins without one: give it a
function that `carried` has wrapped. Outside of our spans OpenTelemetry's current span is the parent.
"""

import sys
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Place:
    """A span that a thread or task has entered, and the place it was in before."""

    def __init__(self, span: object, outer: "Place | None") -> None:
        self.span = span
        self.outer = outer
        self.is_left = False


_current: ContextVar[Place | None] = ContextVar("tracestore_current_span", default=None)


def current() -> object | None:
    """Return the span that this thread or task has entered last and not left."""
    place = _current.get()
    return None if place is None else place.span


def current_trace() -> tuple[str, str] | None:
    """Return trace and span id of OpenTelemetry's current span; None where the application has none."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    return (format(context.trace_id, "032x"), format(context.span_id, "016x")) if context.is_valid else None


def carried(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wrap a function so that it runs, in whatever thread, in the span in which it was wrapped."""
    place = _current.get()

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        def inside() -> _R:
            _current.set(place)
            return function(*args, **kwargs)

        return copy_context().run(inside)

    return run


def enter(span: object) -> Place:
    """Make a span the current one; `leave` undoes it."""
    place = Place(span, _current.get())
    _current.set(place)
    return place


def leave(place: Place) -> None:
    """Make the span around a place the current one again.

    Generators leave in any order, and in any task: one that is finished after what was around it, or
    by a task that was never in it, changes nothing.
    """
    place.is_left = True
    inner = _current.get()
    while inner is not None and inner is not place:
        inner = inner.outer
    if inner is not None:
        while inner is not None and inner.is_left:
            inner = inner.outer
        _current.set(inner)
