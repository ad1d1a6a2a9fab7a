"""The two applications of a server: one for the store's owner, one for whoever gets past the guard."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from tracestore.serve import bodies, calls, export, health, index, prometheus, receiver, records, sql
from tracestore.serve.appending import Appending
from tracestore.serve.failures import HANDLERS
from tracestore.serve.guard import Guard, host_names
from tracestore.serve.health import Status
from tracestore.serve.limits import Limits
from tracestore.serve.receiver import Received
from tracestore.serve.sql import QuerySlots
from tracestore.store import TraceStore

_PUBLIC = (index, receiver, records, bodies, health, prometheus, sql, export)


@dataclass(frozen=True, slots=True)
class Serving:
    """What the endpoints of one store share; they find each by its name in ``request.app.state``."""

    store: TraceStore
    status: Status
    lag_bytes: Callable[[], int]
    appending: Appending
    received: Received
    read_ref: Callable[[str], bytes | None]
    workers: ThreadPoolExecutor
    """Threads for the calls of `tracestore.remote`."""
    queries: QuerySlots = field(default_factory=QuerySlots)


def owner_app(serving: Serving) -> ASGIApp:
    """Return what answers on the store's own socket: everything."""
    return _app(serving, [*_public_routes(), *calls.ROUTES])


def public_app(serving: Serving, host: str, token: bytes | None) -> ASGIApp:
    """Return what answers over TCP."""
    return Guard(Limits(_app(serving, _public_routes())), token=token, hosts=host_names(host))


def _app(serving: Serving, routes: list[Route]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False  # what is not there is 404, in JSON; no redirect to a Host of the client's
    for name in Serving.__slots__:
        setattr(app.state, name, getattr(serving, name))
    return app


def _public_routes() -> list[Route]:
    return [route for module in _PUBLIC for route in module.ROUTES]
