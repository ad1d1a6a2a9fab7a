"""What the answers of the JSON API share: JSON, work in threads, parameters that are checked."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from tracestore.errors import InputInvalid
from tracestore.views.values import jsonable

_Result = TypeVar("_Result")


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON in UTF-8; where it holds a lone surrogate, which that has not, in ASCII."""
    text = json.dumps(value, default=jsonable, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        content = text.encode()
    except UnicodeEncodeError:
        content = json.dumps(value, default=jsonable, allow_nan=False, separators=(",", ":")).encode()
    return Response(content, status, {"X-Content-Type-Options": "nosniff", **(headers or {})}, "application/json")


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """Do what blocks in a worker thread; there are few, and what nobody waits for any more never starts."""
    return await asyncio.to_thread(work)


class Parameters:
    """The query parameters of a request, each once, none that the path does not know."""

    def __init__(self, request: Request, *known: str) -> None:
        """Read them; InputInvalid names those there are."""
        self._given: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                wanted = ", ".join(known) or "none"
                raise InputInvalid(f"parameters: wanted {wanted}; found {name!r:.80}")
            if name in self._given:
                raise InputInvalid(f"{name}: wanted once, found twice")
            self._given[name] = value

    def text(self, name: str) -> str | None:
        """Return a parameter, or None without it."""
        return self._given.get(name)

    def one_of(self, name: str, *allowed: str) -> str | None:
        """Return one of a few words, or None without it."""
        value = self._given.get(name)
        if value is not None and value not in allowed:
            raise InputInvalid(f"{name}: wanted {' or '.join(allowed)}, found {value!r:.80}")
        return value

    def flag(self, name: str) -> bool:
        """Return whether a parameter is true; without it, it is not."""
        return self.one_of(name, "true", "false") == "true"

    def count(self, name: str, default: int, most: int) -> int:
        """Return a number from 1 to ``most``."""
        text = self._given.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise InputInvalid(f"{name}: wanted a number from 1 to {most:,}, found {text!r:.80}")
        return int(text)
