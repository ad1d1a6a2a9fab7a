"""An app asked in this process, without a socket."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest


class Asking:
    """Asks an ASGI app, one request after the other, each in an event loop of its own."""

    def __init__(self, app: Any, base_url: str = "http://127.0.0.1:4318", *, raises: bool = True) -> None:
        self.app = app
        self._base_url = base_url
        self._raises = raises

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=self._raises)
        async with httpx.AsyncClient(transport=transport, base_url=self._base_url) as client:
            return await client.request(method, path, **options)


@pytest.fixture
def asking() -> Callable[..., Asking]:
    """`asking(app).get(path)` is the app's whole answer."""
    return Asking
