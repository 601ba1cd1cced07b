"""Requests to the API server on one pool of connections, counted by verb and resource.

The generated client builds a model of every object that it reads and writes; the operator needs a handful of fields,
so it sends and reads plain JSON (docs/decisions has the measurements).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from pydantic_core import from_json, to_json

from scenewright.reconcile.cluster.connection import Connection
from scenewright.reconcile.cluster.resources import Resource
from scenewright.telemetry.metrics import API_REQUESTS, API_SECONDS

Json = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METHODS = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_DOCUMENTS = Resource("", "", "documents", namespaced=False)
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
PAGE = 100
"""Objects of a page: a Pod has 12 KB as text and ten times that while it is read."""
_PAGE_PAUSES = (0.2, 0.5, 1.0)
_LOST = (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError)


class ApiError(Exception):
    """The API server refused a request, or could not be reached.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        reason: of the Status object, such as AlreadyExists.
        message: for people.
        retry_after: seconds that the server asks for, None when it says nothing.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether the same request may well succeed later: overload, an outage, a restart."""
        return self.status in (0, 408, 429) or self.status >= 500


class Client:
    """Typed by resource, not by model: bodies are plain JSON objects."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object."""
        return await self._request("get", resource, resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str = "", **parameters: str) -> Json:
        """One page of a collection."""
        return await self._request("list", resource, resource.path(namespace), parameters)

    async def pages(
        self, resource: Resource, namespace: str = "", limit: int = PAGE, accept: str = "", **parameters: str
    ) -> AsyncIterator[Json]:
        """The whole collection, page by page; `accept` METADATA_ONLY leaves out spec and status."""
        following = ""
        while True:
            query = {**parameters, "limit": str(limit), **({"continue": following} if following else {})}
            page = await self._page(resource, namespace, query, accept)
            yield page
            following = page.get("metadata", {}).get("continue", "")
            if not following:
                return

    async def _page(self, resource: Resource, namespace: str, query: Mapping[str, str], accept: str) -> Json:
        """A page after the first is asked for again: else a list of many pages would hardly ever come to its end."""
        for pause in _PAGE_PAUSES if "continue" in query else ():
            try:
                return await self._request("list", resource, resource.path(namespace), query, accept=accept)
            except ApiError as error:
                if not error.passing:
                    raise
                await asyncio.sleep(error.retry_after or pause)
        return await self._request("list", resource, resource.path(namespace), query, accept=accept)

    async def create(self, resource: Resource, namespace: str, body: Mapping[str, Any]) -> Json:
        """Creates an object; unknown fields are refused."""
        return await self._request(
            "create", resource, resource.path(namespace), {"fieldValidation": "Strict"}, dict(body)
        )

    async def update(self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]) -> Json:
        """Replaces an object."""
        return await self._request("update", resource, resource.path(namespace, name), None, dict(body))

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        subresource: str = "",
        content_type: str = MERGE_PATCH,
    ) -> Json:
        """Patches an object; preconditions (uid, resourceVersion) go into the body's metadata."""
        path = resource.path(namespace, name, subresource)
        return await self._request("patch", resource, path, None, dict(body), content_type)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str, propagation: str) -> Json:
        """Deletes the object of this uid and no other."""
        body = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        return await self._request("delete", resource, resource.path(namespace, name), None, body)

    async def document(self, path: str) -> Json:
        """The JSON document at a path that is no resource, such as the keys of service-account tokens."""
        return await self._request("get", _DOCUMENTS, path, accept="application/jwk-set+json, application/json")

    async def watch(
        self, resource: Resource, namespace: str, silence: float, **parameters: str
    ) -> AsyncIterator[bytes]:
        """Lines of a watch, until the server ends it; `silence` seconds without a byte end it with an error."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence)
        url = self._connection.server + resource.path(namespace)
        rest = b""
        try:
            async with self._connection.session.get(
                url,
                params={"watch": "true", **parameters},
                headers=self._connection.authorization(),
                timeout=timeout,
            ) as response:
                _count("watch", resource, response.status)
                if response.status >= 400:
                    raise _error_of(response, await response.read())
                async for chunk in response.content.iter_any():
                    lines = (rest + chunk).split(b"\n")
                    rest = lines.pop()
                    for line in lines:
                        yield line
        except _LOST as error:
            raise _lost("watch", resource, error) from error

    async def _request(
        self,
        verb: str,
        resource: Resource,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        accept: str = "",
    ) -> Json:
        negotiated = {"Content-Type": content_type, "Accept": accept or "application/json"}
        for attempt in (1, 2):
            status, headers, data = await self._exchange(verb, resource, path, parameters, body, negotiated)
            if status == 401 and attempt == 1:
                self._connection.refresh()
                continue
            break
        if status >= 400:
            raise _error(status, headers, data)
        answer: Json = from_json(data)
        return answer

    async def _exchange(
        self,
        verb: str,
        resource: Resource,
        path: str,
        parameters: Mapping[str, str] | None,
        body: Json | None,
        negotiated: Mapping[str, str],
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {**self._connection.authorization(), **negotiated}
        began = time.perf_counter()
        try:
            async with self._connection.session.request(
                _METHODS[verb],
                self._connection.server + path,
                params=parameters,
                data=None if body is None else to_json(body),
                headers=headers,
                timeout=_TIMEOUT,
            ) as response:
                # The body is always read to its end: otherwise the connection cannot be used again.
                data = await response.read()
        except _LOST as error:
            raise _lost(verb, resource, error) from error
        API_SECONDS.labels(verb).observe(time.perf_counter() - began)
        _count(verb, resource, response.status)
        return response.status, response.headers, data


def _count(verb: str, resource: Resource, code: int) -> None:
    API_REQUESTS.labels(verb, resource.plural, str(code)).inc()


def _lost(verb: str, resource: Resource, error: BaseException) -> ApiError:
    _count(verb, resource, 0)
    return ApiError(0, "Unreachable", f"{type(error).__name__}: {error}")


def _error_of(response: aiohttp.ClientResponse, data: bytes) -> ApiError:
    return _error(response.status, response.headers, data)


def _error(status: int, headers: Mapping[str, str], data: bytes) -> ApiError:
    try:
        answer = from_json(data)
    except ValueError:
        answer = {"message": data[:300].decode(errors="replace")}
    answer = answer if isinstance(answer, dict) else {}
    return ApiError(status, answer.get("reason", ""), answer.get("message", ""), _retry_after(headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers["Retry-After"])
    except (KeyError, ValueError):
        return None
