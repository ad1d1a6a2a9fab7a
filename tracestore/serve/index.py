"""What there is to ask: every endpoint with its methods and what it answers."""

from inspect import getdoc
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracestore.serve.answering import json_answer
from tracestore.serve.health import release


async def answer_index(request: Request) -> Response:
    """This list."""
    routes = [route for route in request.app.routes if isinstance(route, Route) and route.include_in_schema]
    members = {"name": "tracestore", "version": release(), "endpoints": [_members(route) for route in routes]}
    return json_answer(members)


ROUTES = [Route("/", answer_index)]


def _members(route: Route) -> dict[str, Any]:
    methods = sorted((route.methods or set()) - {"HEAD"})  # every GET has one
    about = (getdoc(route.endpoint) or "").partition("\n")[0]
    return {"path": route.path.replace(":path}", "}"), "methods": methods, "about": about}
