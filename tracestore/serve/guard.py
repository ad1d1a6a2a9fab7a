"""Who may talk to a store over TCP: whoever has the token; else programs of this machine, no web page.

A web page can make a browser send requests to a loopback address. Under a name of its own that leads there
(DNS rebinding) it could read the answers, so the Host header has to be a name of this machine. A request that
a page of another origin started names it in Origin, or its browser says so in Sec-Fetch-Site. Nothing here
ever sends a CORS header.

::

    Guard(Limits(app), token=read_token(path), hosts=host_names(host))
"""

import hmac
import ipaddress
import os
import re
import stat
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from tracestore.errors import InputInvalid
from tracestore.serve.failures import failure

LOOPBACK = "127.0.0.1"
TOKEN_MIN_BYTES = 16
_TOKEN_MAX_BYTES = 4096
"""A token travels in a header; a longer file is something else."""
_TOKEN = re.compile(rb"[\x21-\x7e]+")
_HOST_AND_PORT = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_ADDRESS_WANTED = "an address such as 127.0.0.1:4318, [::1]:4318 or :4318 (this machine alone)"


class Guard:
    """Lets a request through to an app, or answers 401, 403 or 421 before its body is read.

    ``hosts`` are the names, without port, under which the app is asked for where there is no token.
    """

    def __init__(self, app: ASGIApp, *, token: bytes | None, hosts: frozenset[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        elif scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))) is not None:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> Response | None:
        hosts = headers.getlist("host")
        if len(hosts) > 1:
            return failure(400, "BadRequest", f"Host: wanted it once, found it {len(hosts)} times")
        host = hosts[0] if hosts else ""
        if self._token is None:
            if _name_of(host) not in self._hosts:
                names = ", ".join(sorted(self._hosts))
                wanted = f"a name of the address that is listened on ({names})"
                hint = "ask for it by that, or serve with --token-file"
                return failure(421, "MisdirectedRequest", f"Host: wanted {wanted}, found {host!r:.80}; {hint}")
        elif not self._has_token(headers):
            # The same answer for none and for a wrong one.
            wanted = "Authorization: Bearer TOKEN, with the token of the file that tracestore serve was given"
            return failure(401, "Unauthorized", f"wanted {wanted}", {"WWW-Authenticate": "Bearer"})
        if _is_of_another_page(headers, host):
            return failure(403, "Forbidden", "a web page of another origin may not ask; ask from outside a browser")
        return None

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token or b"")
        return is_right and scheme.lower() == "bearer"


def host_names(host: str) -> frozenset[str]:
    """Return the names, without port, that a request may ask for when this host is listened on."""
    return frozenset({"localhost", LOOPBACK, "::1", host.lower()})


def parse_listen(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, an IPv6 address in brackets; without a host it is this machine alone, 127.0.0.1."""
    host, port = LOOPBACK, text.removeprefix(":")
    if port == text:
        match = _HOST_AND_PORT.fullmatch(text)
        if match is None or match[3] is None:
            raise InputInvalid(f"--listen: wanted {_ADDRESS_WANTED}, found {text!r:.80}")
        host, port = (match[1] or match[2]).lower(), match[3]
    if not re.fullmatch("[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise InputInvalid(f"--listen: wanted {_ADDRESS_WANTED} and a port up to 65535, found {text!r:.80}")
    return host, int(port)


def check_listen(host: str, token: bytes | None) -> None:
    """Refuse to listen where other machines can ask, unless they have to show a token."""
    if token is None and not _is_loopback(host):
        wanted = "--token-file for an address that other machines reach"
        raise InputInvalid(f"--listen: wanted {wanted}, found {host!r:.80} alone; or listen on {LOOPBACK}")


def read_token(path: Path) -> bytes:
    """Read a token: a file that its owner alone can read, 16 or more visible ASCII characters."""
    try:
        # Not blocking, for a pipe would wait for a writer before it can be refused.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputInvalid(f"--token-file: wanted a file with a token, found {str(path)!r}: {reason}") from error
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise InputInvalid(f"--token-file: wanted a regular file, found something else at {path}")
        if mode & 0o077:
            found = f"mode {stat.S_IMODE(mode):04o}"
            raise InputInvalid(f"--token-file: wanted {path} for its owner alone, found {found}; chmod 600 {path}")
        token = os.read(fd, _TOKEN_MAX_BYTES + 1).strip()
    finally:
        os.close(fd)
    if not TOKEN_MIN_BYTES <= len(token) <= _TOKEN_MAX_BYTES or not _TOKEN.fullmatch(token):
        wanted = f"{TOKEN_MIN_BYTES} to {_TOKEN_MAX_BYTES} visible ASCII characters without spaces"
        hint = "openssl rand -hex 32 writes some"
        raise InputInvalid(f"--token-file: wanted {wanted} in {path}, found {len(token)} bytes; {hint}")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name_of(host: str) -> str | None:
    """Return the name in a Host header, without its port; None when it is none."""
    match = _HOST_AND_PORT.fullmatch(host)
    return (match[1] or match[2]).lower() if match else None


def _is_of_another_page(headers: Headers, host: str) -> bool:
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    scheme, _, netloc = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    return netloc.removesuffix(f":{port}") != host.lower().removesuffix(f":{port}") or not netloc
