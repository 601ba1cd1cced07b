"""Keeps the page safe: what may call it, how often, and what its answers may do in a browser.

Pages run no inline script. Results run in a sandbox with an origin of their own (``Content-Security-Policy: sandbox``),
so that a report, whoever made it, reaches neither the page nor its cookies. Forms carry a token that only pages of this
server know, and requests from other sites change nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import FormData, Headers, MutableHeaders, UploadFile
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scenewright_lab.sources.interface import Person, Refused

COOKIE = "scenewright-lab"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FILE_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'self'"
"""Of everything that a run wrote. The report pages bring a policy of their own besides."""
HEALTH = "/healthz"
"""Answers under any name: the kubelet asks by the address of the Pod."""
MOST_FORM_BYTES = 256 << 20
MOST_FIELDS = 600
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer" browsers would send the origin "null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass
class Limits:
    """Requests per person: a bucket that refills at `rate` per second up to `burst`."""

    rate: float = 50.0
    burst: float = 500.0
    known: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    most_known: int = 4096

    def take(self, name: str, now: float) -> float:
        """Takes one request; 0 if it is allowed, else the seconds until the next one is."""
        left, before = self.known.pop(name, (self.burst, now))
        left = min(self.burst, left + (now - before) * self.rate)
        allowed = left >= 1.0
        self.known[name] = (left - 1.0 if allowed else left, now)
        if len(self.known) > self.most_known:
            self.known.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self.rate


class Guard:
    """Middleware: checks host, origin and rate, and adds the headers of every answer.

    Args:
        app: what it guards.
        hosts: names under which the page may be called; empty for any.
        token_headers: headers in which a proxy hands on the person's token; empty: one person, no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: tuple[str, ...],
        token_headers: tuple[str, ...],
        reads: Limits | None = None,
        writes: Limits | None = None,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._token_headers = token_headers
        self._reads = reads or Limits()
        self._writes = writes or Limits(rate=0.5, burst=20.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        person = person_of(headers, self._token_headers)
        scope["person"] = person

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out.setdefault(name, value)
                out.setdefault("Content-Security-Policy", PAGE_POLICY)
                out.setdefault("Cache-Control", "no-store")
            await send(message)

        if refused := self._refusal(scope, headers, person):
            await refused(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers, person: Person) -> PlainTextResponse | None:
        host = _host(headers.get("host", ""))
        if self._hosts and host not in self._hosts and scope["path"] != HEALTH:
            # A foreign name that points here would give its scripts the rights of this page.
            return PlainTextResponse("This page is not served under this name.", 421)
        changes = scope["method"] not in ("GET", "HEAD")
        if changes and not is_same_origin(headers):
            return PlainTextResponse("The request came from another site.", 403)
        client = person.key or (scope.get("client") or ("",))[0]
        wait = (self._writes if changes else self._reads).take(client, time.monotonic())
        if wait:
            return PlainTextResponse("Too many requests.", 429, {"Retry-After": str(max(1, round(wait)))})
        return None


def _host(header: str) -> str:
    """The host without its port."""
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0].lower()


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that the request comes from a page of this server."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2] == headers.get("host")


def person_of(headers: Mapping[str, str], token_headers: tuple[str, ...]) -> Person:
    """The person of a request, by the token that the proxy hands on."""
    for name in token_headers:
        value = headers.get(name, "")
        token = value.removeprefix("Bearer ").strip() if name.lower() == "authorization" else value.strip()
        if token:
            shown = headers.get("x-forwarded-email") or headers.get("x-forwarded-user") or ""
            return Person(shown[:80], token)
    return Person()


class Tokens:
    """Tokens of forms, each bound to the cookie of one browser."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, request: Request) -> tuple[str, str]:
        """The browser's cookie, new if it has none, and the token of its forms."""
        held = request.cookies.get(COOKIE, "")
        cookie = held if len(held) == 43 else secrets.token_urlsafe(32)
        return cookie, self._token(cookie)

    async def form(self, request: Request) -> FormData:
        """The form of a request, if it has the right token.

        Raises:
            Refused: the token is missing or wrong, or the form is too large.
        """
        if int(request.headers.get("content-length") or MOST_FORM_BYTES + 1) > MOST_FORM_BYTES:
            raise Refused(f"The form is larger than {MOST_FORM_BYTES >> 20} MB, or does not say how large it is.", 413)
        form = await request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=1 << 20)
        given, cookie = form.get("csrf"), request.cookies.get(COOKIE, "")
        if not isinstance(given, str) or not cookie or not hmac.compare_digest(given, self._token(cookie)):
            raise Refused("The form is too old, or came from elsewhere. Load the page again.")
        return form

    def _token(self, cookie: str) -> str:
        return hmac.new(self._secret, cookie.encode(), hashlib.sha256).hexdigest()


def texts(form: FormData) -> dict[str, str]:
    """The text fields of a form."""
    return {name: value for name, value in form.items() if isinstance(value, str)}


def upload(form: FormData, name: str) -> UploadFile | None:
    """The uploaded file of a form, if one was chosen."""
    found: Any = form.get(name)
    return found if isinstance(found, UploadFile) and found.filename else None
