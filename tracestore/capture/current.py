"""The current span of a thread or task, for those who opt in: parent of what is recorded without another.

A task of asyncio inherits it, as `asyncio.to_thread` does. A thread begins without one: give it a
function that `carried` has wrapped.
"""

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token, copy_context
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from tracestore.capture.span import Span

_P = ParamSpec("_P")
_R = TypeVar("_R")
_current: "ContextVar[Span | None]" = ContextVar("tracestore_current_span", default=None)


def current_span() -> "Span | None":
    """Return the span that this thread or task is in; None where no recorder uses the context."""
    return _current.get()


def carried(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wrap a function so that it runs, in whatever thread, in the span in which it was wrapped."""
    span = _current.get()

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        def inside() -> _R:
            _current.set(span)
            return function(*args, **kwargs)

        return copy_context().run(inside)

    return run


def enter(span: "Span") -> "Token[Span | None]":
    """Make a span the current one; `leave` undoes it."""
    return _current.set(span)


def leave(token: "Token[Span | None]") -> None:
    """Make the span before the current one again."""
    with suppress(ValueError):  # a generator that was finished by another task leaves that task's context alone
        _current.reset(token)
