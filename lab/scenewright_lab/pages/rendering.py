"""Renders templates, and explains errors as pages that say what to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from scenewright.api.status import number_texts, rate_text
from scenewright.cli.cluster.views import MARK_WORDS
from scenewright.cli.texts import age, duration, size
from scenewright_lab.actions.interface import Actions
from scenewright_lab.security import COOKIE, Tokens
from scenewright_lab.settings import Settings
from scenewright_lab.sources.files import Files
from scenewright_lab.sources.interface import Entry, NotFound, Person, Refused, Source

TEMPLATES = Path(__file__).parent / "templates"
PHASES = ("Running", "Indexing", "Publishing", "Waiting", "Pending", "Suspended", "Failed", "Complete")
TONES = {"Complete": "done", "Failed": "failed", "Waiting": "warning", "Suspended": "warning"}
"""Colours of phases; what works has the neutral one."""


@dataclass
class Lab:
    """What all handlers share."""

    settings: Settings
    source: Source
    files: Files
    actions: Actions | None
    tokens: Tokens = field(default_factory=Tokens)
    closing: asyncio.Event = field(default_factory=asyncio.Event)


def lab_of(request: Request) -> Lab:
    """What the handlers of this application share."""
    lab: Lab = request.app.state.lab
    return lab


def person_of(request: Request) -> Person:
    """The person who asks.

    Raises:
        Refused: the page serves people with tokens, and this request has none.
    """
    person: Person = request.scope["person"]
    if lab_of(request).settings.token_headers and not person.token:
        raise Refused("Sign in first: the proxy in front of this page hands on no token.", 401)
    return person


async def entry_of(request: Request) -> Entry:
    """The object that the URL names."""
    return await lab_of(request).source.entry(person_of(request), request.path_params["id"])


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A page of the application."""
    lab = lab_of(request)
    cookie, token = lab.tokens.of(request)
    shared = {
        "lab": lab,
        "source": lab.source,
        "person": request.scope["person"],
        "csrf": token,
        "here": request.url.path,
    }
    response = HTMLResponse(_environment().get_template(template).render(**shared, **values), status)
    if request.cookies.get(COOKIE) != cookie:
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure)
    return response


async def explain(request: Request, error: Exception) -> Response:
    """The page of an error."""
    if isinstance(error, NotFound):
        status, words = 404, "There is no such object or file, or you may not see it."
    elif isinstance(error, Refused):
        status, words = error.status, str(error)
    elif isinstance(error, HTTPException):
        status, words = error.status_code, "There is no such page."
    else:
        status, words = 503, f"The storage or the API server does not answer at the moment: {error}"
    response = page(request, "error.html", status, words=words, code=status)
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"age": age, "duration": duration, "size": size, "rate": rate_text, "numbers": number_texts}
    environment.globals |= {"object_url": object_url, "file_url": file_url, "marks": MARK_WORDS, "tones": TONES}
    return environment


def object_url(entry: Entry, room: str = "objects") -> str:
    """Address of a page about an object."""
    return f"/{room}/{quote(entry.id)}"


def file_url(entry: Entry, key: str, room: str = "files") -> str:
    """Address of a file of an object."""
    return f"/{room}/{quote(entry.id)}/-/{quote(key)}"
