"""Protects the page from other web pages: checks of Host and Origin, a token, and restrictive headers.

Another page that the user visits can also send requests to 127.0.0.1. It does not know the token, the browser
does not send the cookie along (``SameSite=Strict``), and another name for 127.0.0.1 (DNS rebinding) does not
pass the check of the Host.
"""

import ipaddress
import platform
import secrets
from collections.abc import Collection
from hmac import compare_digest
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

EVERYWHERE: Final = {"0.0.0.0", "::"}
"""Addresses to serve on that stand for all of the machine."""

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

MOST_BYTES: Final = 2**20
"""Maximum size in bytes of the body of a request."""


class Guard:
    """Lets only requests of our own page through.

    Parameters
    ----------
    app : ASGI application
        The application that answers them.
    token : str
        Secret that the first request has in its address, the others in a cookie.
    hosts : collection of str
        Host names that are accepted in addition to those of the loopback interface, with any port, as
        ``ssh -L`` may forward a different one. ``0.0.0.0`` and ``::`` stand for every address in numbers,
        which no other page can take over by its name server, and for this machine's name.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str] = ()) -> None:
        self._app, self._token = app, token
        self._hosts = {*LOOPBACK, *(host.casefold().strip("[]") for host in hosts)}
        self._open = bool(EVERYWHERE & self._hosts)
        if self._open:
            self._hosts.add(platform.node().casefold())
        self.cookie = f"gpu-ssl-label-{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if (problem := self._problem(request.headers, request.method)) is not None:
            return PlainTextResponse(problem, 403)
        given = request.query_params.get("token")
        if (
            request.url.path == "/"
            and given is not None
            and compare_digest(given.encode(), self._token.encode())
        ):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self.cookie, self._token, httponly=True, samesite="strict", path="/")
            return answer
        if not compare_digest(request.cookies.get(self.cookie, "").encode(), self._token.encode()):
            return PlainTextResponse("Open the address that gpu-ssl label has printed, with its token.", 403)
        return None

    def _knows(self, host: str | None) -> bool:
        return host in self._hosts or (self._open and host is not None and _is_numeric(host))

    def _problem(self, headers: Headers, method: str) -> str | None:
        """Return what is wrong with the headers of a request, if anything."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._knows(_name_of(f"//{hosts[0]}")):
            return "Unknown host name for this server."
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
            return "Requests from other origins are refused."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "Requests from other sites are refused."
        if method in ("GET", "HEAD"):
            return None
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return "The body must be JSON."
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return "The body must be small, with a Content-Length."
        return None


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _name_of(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return None if parts.username is not None or parts.path else parts.hostname
