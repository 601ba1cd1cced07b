"""Sends requests to the API server through the official client, which handles credentials, proxies and TLS.

Bodies are plain JSON. The official client's generated API would build a model of every object, of which we need only a
few fields; ``docs/decisions/006-plain-json-and-own-informer.md`` has measurements.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.config import ConfigException
from pydantic_core import from_json

from scenewright.api.raw import Json, RawJson
from scenewright.kube.connection import Connection
from scenewright.kube.resources import PODS, USER_AGENT, Resource

Observe = Callable[[str, str, int], None]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
"""HTTP methods of the verbs that write."""
_DOCUMENTS = Resource("", "", "documents", namespaced=False)
_JSON = {"Accept": "application/json"}
_CONNECT_SECONDS = 5
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=_CONNECT_SECONDS)
PAGE = 100
"""Objects per page: a Pod takes 12 KB as text, and ten times as much while it is parsed."""
_PAGE_PAUSES = (0.2, 0.5, 1.0)
_LOST = (aiohttp.ClientError, asyncio.TimeoutError, OSError, ConfigException)
"""Errors without a response; ConfigException means that the credentials cannot be read at the moment."""


_DENIED = ("denied the request", "denied request", "is forbidden: ")
"""Words of the API server itself, around the message of a webhook, a ValidatingAdmissionPolicy or a built-in plugin."""

_LACKS_RIGHT = re.compile(r'User ".*" cannot \w+ resource|cannot set blockOwnerDeletion')
"""What RBAC says, and the plugin OwnerReferencesPermissionEnforcement, which OpenShift has on."""


class ApiError(Exception):
    """The API server refused a request, or could not be reached.

    Attributes:
        status: HTTP status; 0 without a response.
        reason: of the Status object, such as AlreadyExists.
        message: for people.
        retry_after: seconds to wait, if the server sent any.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def malformed(self) -> bool:
        """Whether the object itself is wrong, so that the server will never accept it.

        Policies and webhooks may answer with any status, 400 and 422 included, but say that they denied the request.
        What they ask for may change, or the lab may allow it later.
        """
        return self.status in (400, 422) and not any(words in self.message for words in _DENIED)

    @property
    def lacks_right(self) -> bool:
        """Whether the operator lacks a right: unlike a quota's or a policy's 403, this is nothing about the object."""
        return self.status == 403 and bool(_LACKS_RIGHT.search(self.message))

    @property
    def passing(self) -> bool:
        """Whether the cause is temporary, such as overload, an outage or a restart."""
        return self.status in (0, 408, 429) or self.status >= 500


REFUSED = (403, 404)
"""Responses to a list if the rights, the CRD or the namespace are missing, until somebody changes that."""
GONE = (404, 409)
"""Responses to a write with a uid as precondition if the object is gone, or replaced by another of the same name."""


@contextlib.contextmanager
def ignore_statuses(*statuses: int) -> Iterator[None]:
    """Suppresses an ApiError with one of these statuses."""
    try:
        yield
    except ApiError as error:
        if error.status not in statuses:
            raise


class Client:
    """Requests by resource, with plain JSON objects as bodies.

    Calls `observe` after each request with verb, plural and HTTP status, 0 without a response.
    """

    def __init__(self, connection: Connection, observe: Observe = lambda *_: None) -> None:
        self._connection = connection
        self._observe = observe

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        return await self._request("get", resource, resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str = "", **parameters: str) -> Json:
        return await self._request("list", resource, resource.path(namespace), parameters)

    async def pages(self, resource: Resource, namespace: str = "", **parameters: str) -> AsyncIterator[Json]:
        """The whole collection, page by page."""
        following = ""
        while True:
            query = {**parameters, "limit": str(PAGE), **({"continue": following} if following else {})}
            page = await self._page(resource, namespace, query)
            yield page
            following = page.get("metadata", {}).get("continue", "")
            if not following:
                return

    async def _page(self, resource: Resource, namespace: str, query: Mapping[str, str]) -> Json:
        """Requests one page. Retries pages after the first, since a long list would rarely complete otherwise."""
        for pause in _PAGE_PAUSES if "continue" in query else ():
            try:
                return await self._request("list", resource, resource.path(namespace), query)
            except ApiError as error:
                if not error.passing:
                    raise
                await asyncio.sleep(error.retry_after or pause)
        return await self._request("list", resource, resource.path(namespace), query)

    async def create(self, resource: Resource, namespace: str, body: RawJson) -> Json:
        """Creates an object; unknown fields are refused."""
        return await self._request(
            "create", resource, resource.path(namespace), {"fieldValidation": "Strict"}, dict(body)
        )

    async def update(self, resource: Resource, namespace: str, name: str, body: RawJson) -> Json:
        return await self._request("update", resource, resource.path(namespace, name), None, dict(body))

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: RawJson,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
    ) -> Json:
        """Patches an object; preconditions (uid, resourceVersion) go into the body's metadata."""
        path = resource.path(namespace, name, subresource)
        return await self._request("patch", resource, path, None, dict(body), content_type)

    async def apply(self, resource: Resource, namespace: str, name: str, body: RawJson) -> Json:
        """Creates the object or takes over the fields of the body (server-side apply)."""
        query = {"fieldManager": USER_AGENT, "force": "true", "fieldValidation": "Strict"}
        path = resource.path(namespace, name)
        return await self._request("patch", resource, path, query, dict(body), "application/apply-patch+yaml")

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str, propagation: str) -> Json:
        """Deletes the object, with its uid as precondition."""
        body = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        return await self._request("delete", resource, resource.path(namespace, name), None, body)

    async def document(self, path: str) -> Json:
        """The JSON document at a path that is not a resource, such as the keys of service-account tokens."""
        return await self._request("get", _DOCUMENTS, path, accept="application/jwk-set+json, application/json")

    async def log(self, namespace: str, pod: str, lines: int) -> str:
        """The last lines of a Pod's first container."""
        path, query = PODS.path(namespace, pod, "log"), {"tailLines": str(lines), "limitBytes": "65536"}
        try:
            response = await self._open(self._connection.requests, "get", path, query, None, {}, _TIMEOUT)
            data = await response.read()
        except _LOST as error:
            raise self._lost("get", PODS, error) from error
        self._observe("get", "pods/log", response.status)
        if response.status >= 400:
            raise _error(response.status, response.headers, data)
        return data.decode(errors="replace")

    async def watch(
        self, resource: Resource, namespace: str, silence: float, **parameters: str
    ) -> AsyncGenerator[bytes, None]:
        """Lines of a watch until the server ends it. Raises after `silence` seconds without any data."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        query = {"watch": "true", **parameters}
        rest = b""
        try:
            response = await self._open(
                self._connection.watches, "watch", resource.path(namespace), query, None, dict(_JSON), timeout
            )
            try:
                self._observe("watch", resource.plural, response.status)
                if response.status >= 400:
                    raise _error(response.status, response.headers, await response.read())
                async for chunk in response.content.iter_any():
                    lines = (rest + chunk).split(b"\n")
                    rest = lines.pop()
                    for line in lines:
                        if line:
                            yield line
            finally:
                response.close()
        except _LOST as error:
            raise self._lost("watch", resource, error) from error

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
        headers = {"Content-Type": content_type, "Accept": accept or "application/json"}
        try:
            response = await self._open(
                self._connection.requests, verb, path, parameters or {}, body, headers, _TIMEOUT
            )
            # Always read the whole body, so that the connection can be reused.
            data = await response.read()
        except _LOST as error:
            raise self._lost(verb, resource, error) from error
        self._observe(verb, resource.plural, response.status)
        if response.status >= 400:
            raise _error(response.status, response.headers, data)
        answer: Json = from_json(data)
        return answer

    async def _open(
        self,
        pool: ApiClient,
        verb: str,
        path: str,
        query: Mapping[str, str],
        body: Json | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """The response with its body still unread. On 401 it renews the credentials and tries once more."""
        for is_last in (False, True):
            method, url, sent, _, _ = await pool.param_serialize(
                _METHODS.get(verb, "GET"),
                path,
                query_params=list(query.items()),
                header_params=dict(headers),
                auth_settings=["BearerToken"],
            )
            # Pass the body here, not to param_serialize, which would search the plain JSON for models.
            answer = await pool.call_api(method, url, sent, body, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            if response.status != 401 or is_last:
                break
            response.close()
            await self._connection.renew()
        return response

    def _lost(self, verb: str, resource: Resource, error: BaseException) -> ApiError:
        self._observe(verb, resource.plural, 0)
        return ApiError(0, "Unreachable", f"{type(error).__name__}: {error}")


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
