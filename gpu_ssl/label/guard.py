"""What keeps strangers' pages from the page: Host, Origin, a token, and headers that forbid all else.

A page that somebody visits meanwhile can send requests to 127.0.0.1, too. It does not know the token, the
browser does not send it the cookie (``SameSite=Strict``), and by another name for 127.0.0.1 (DNS rebinding)
it does not get past the check of the Host.
"""

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
"""Of the body of a request."""


class Guard:
    """Lets only the requests of our own page through.

    Parameters
    ----------
    app : ASGI application
        What answers these.
    token : str
        The first request carries it in its address, the others in a cookie.
    hosts : collection of str
        Names that the server may be called by, besides those of the loopback interface; of any port, as
        ``ssh -L`` may forward another one.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str] = ()) -> None:
        self._app, self._token = app, token
        self._hosts = {*LOOPBACK, *(host.casefold().strip("[]") for host in hosts)}
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
            return PlainTextResponse(
                "This page needs the address that gpu-ssl label has printed, with its token.", 403
            )
        return None

    def _problem(self, headers: Headers, method: str) -> str | None:
        """Say what is wrong with the headers of a request, if anything is."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name_of(f"//{hosts[0]}") not in self._hosts:
            return "This server is not known by that name."
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
            return "Pages of other origins may not ask here."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "Pages of other sites may not ask here."
        if method in ("GET", "HEAD"):
            return None
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return "What is sent must be JSON."
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return "What is sent must be small, and say how long it is."
        return None


def _name_of(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return None if parts.username is not None or parts.path else parts.hostname
