"""The server of the page."""

import asyncio
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from gpu_ssl.errors import GpuSslError, UsageError
from gpu_ssl.label.guard import Guard
from gpu_ssl.label.session import Session

PAGE: Final = Path(__file__).parent / "page"

KEPT: Final = "private, max-age=3600"
"""How long a browser may cache an image."""


class Asked(BaseModel):
    """The body of a request; each request uses the fields that it needs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    page: str = Field(default="", max_length=64)
    labels: dict[str, str | None] = Field(default_factory=dict, max_length=500)
    rows: list[int] = Field(default_factory=list, max_length=500)
    name: str = Field(default="", max_length=1000)
    start: int = Field(default=0, ge=0)
    count: int = Field(default=24, ge=1, le=500)


def make_app(session: Session, token: str, hosts: Collection[str] = ()) -> ASGIApp:
    """Return the application for a session; see `Guard` for `token` and `hosts`."""
    routes = [
        Route("/", _index),
        Route("/image/{images}/{number:int}", _image),
        Mount("/static", StaticFiles(directory=PAGE)),
        *(Route(f"/api/{name}", _answering(work), methods=["POST"]) for name, work in _WORK.items()),
    ]
    app = Starlette(routes=routes, exception_handlers={GpuSslError: _tell})
    app.state.session = session
    return Guard(app, token, hosts)


def _index(request: Request) -> Response:
    return Response(
        (PAGE / "index.html").read_bytes(), media_type="text/html", headers={"cache-control": "no-store"}
    )


def _image(request: Request) -> Response:
    session: Session = request.app.state.session
    number = request.path_params["number"]
    if request.path_params["images"] != session.digest or not 0 <= number < len(session.images):
        return PlainTextResponse("No such image.", 404)
    large = request.query_params.get("size") == "large"
    image = session.displayed.large(number) if large else session.displayed.small(number)
    return Response(image.content, media_type=image.kind, headers={"cache-control": KEPT})


def _tell(request: Request, error: Exception) -> Response:
    status = 400 if isinstance(error, UsageError) else 500
    return JSONResponse({"problem": " ".join(str(error).split())}, status)


def _answering(work: Callable[[Session, Asked], Any]) -> Callable[[Request], Any]:
    """Return a handler that runs `work` in a thread, and answers with the state after it."""

    async def answer(request: Request) -> Response:
        try:
            asked = Asked.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            raise UsageError(f"invalid request: {error.errors(include_url=False)[0]['msg']}") from None
        session: Session = request.app.state.session
        found = await asyncio.to_thread(work, session, asked)
        state = await asyncio.to_thread(session.state)
        return JSONResponse({"found": found, "state": state}, headers={"cache-control": "no-store"})

    return answer


def _label(session: Session, asked: Asked) -> None:
    try:
        labels = {int(row): label for row, label in asked.labels.items()}
    except ValueError:
        raise UsageError("images are identified by their numbers") from None
    session.label(asked.page, labels)


_WORK: Final[dict[str, Callable[[Session, Asked], Any]]] = {
    "state": lambda session, asked: None,
    "next": lambda session, asked: session.next(asked.count, asked.page),
    "describe": lambda session, asked: session.describe([session.checked(row) for row in asked.rows]),
    "suspects": lambda session, asked: session.suspects(),
    "labelled": lambda session, asked: session.labelled(asked.name, asked.start, asked.count),
    "label": _label,
    "undo": lambda session, asked: session.describe(session.undo(asked.page)),
    "skip": lambda session, asked: session.skip(asked.rows),
    "keep": lambda session, asked: session.keep(asked.rows),
    "class": lambda session, asked: session.add_class(asked.name),
    "write": lambda session, asked: session.write(),
}
"""The requests of a page."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 stands for any free port.

    Raises
    ------
    UsageError
        If it is not available.
    """
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=kind)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}, `port` {port}: {error.strerror}; name another") from None
    return listening


def serve(app: ASGIApp, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve requests until Ctrl-C; `ready` is called at the start."""
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    server = uvicorn.Server(config)

    async def run() -> None:
        task = asyncio.create_task(server.serve([listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await task

    try:
        asyncio.run(run())
    except KeyboardInterrupt:  # uvicorn raises it again after a clean shutdown
        return
