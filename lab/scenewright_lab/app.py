"""The application: the source, the actions, the routes and the middleware of one page."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scenewright_lab.actions.interface import Actions
from scenewright_lab.actions.local import LocalActions
from scenewright_lab.pages import doing, files, looking
from scenewright_lab.pages.rendering import Lab, explain
from scenewright_lab.security import HEALTH, Guard, Limits
from scenewright_lab.settings import Settings
from scenewright_lab.sources.files import Files
from scenewright_lab.sources.interface import NotFound, Refused, Source, Unavailable
from scenewright_lab.sources.tree import TreeSource

ROUTES = [
    Route("/", looking.overview),
    Route("/objects/{id:path}", looking.show_object),
    Route("/samples/{id:path}", looking.samples),
    Route("/gallery", looking.gallery),
    Route("/tuning", looking.tuning),
    Route("/models", looking.models),
    Route("/new", doing.choose),
    Route("/new/{example}", doing.fill_in, methods=["GET", "POST"]),
    Route("/start", doing.start, methods=["POST"]),
    Route("/act/{verb}/{id:path}", doing.act, methods=["POST"]),
    Route("/pick/{id:path}", doing.pick, methods=["GET", "POST"]),
    Route("/files/{path:path}", files.send_file),
    Route("/thumbnails/{path:path}", files.send_thumbnail),
    Route("/events", files.send_events),
    Route("/static/{name}", files.send_static),
    Route(HEALTH, files.send_health),
]


def create(settings: Settings, reads: Limits | None = None, writes: Limits | None = None) -> Starlette:
    """The application; its source begins to follow the objects when the server starts.

    Args:
        settings: what to serve.
        reads, writes: limits of requests per person; the usual ones by default.
    """

    @contextlib.asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        stored = Files()
        source = _source(settings, stored)
        await source.start()
        actions = _actions(settings, source, stored)
        source.can_act = actions is not None
        app.state.lab = Lab(settings, source, stored, actions)
        try:
            yield
        finally:
            app.state.lab.closing.set()
            if actions is not None:
                await actions.close()
            await source.stop()
            await stored.close()

    guard = Middleware(
        Guard,
        hosts=settings.allowed_hosts,
        token_headers=settings.token_headers,
        reads=reads,
        writes=writes,
    )
    errors = dict.fromkeys((NotFound, Refused, Unavailable, 404, 405), _explained)
    return Starlette(routes=ROUTES, middleware=[guard], exception_handlers=errors, lifespan=running)


def _source(settings: Settings, stored: Files) -> Source:
    if settings.cluster:
        from scenewright_lab.sources.cluster import ClusterSource

        return ClusterSource(settings, stored)
    folder = settings.folder
    if folder is None:
        return TreeSource(settings.target, settings.target, stored)
    folder.mkdir(parents=True, exist_ok=True)
    return TreeSource(folder.as_uri(), str(folder), stored)


def _actions(settings: Settings, source: Source, stored: Files) -> Actions | None:
    if not settings.may_act:
        return None
    if isinstance(source, TreeSource):
        folder = settings.folder
        return LocalActions(Path(folder), source) if folder is not None else None
    from scenewright_lab.actions.cluster import ClusterActions
    from scenewright_lab.sources.cluster import ClusterSource

    return ClusterActions(settings, source, stored) if isinstance(source, ClusterSource) else None


async def _explained(request: Request, error: Exception) -> Response:
    return await explain(request, error)
