"""Parses references to objects in a cluster, and reads and patches the objects.

Uses the user's credentials: the kubeconfig, as kubectl does, else the Pod's service account.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scenewright.api.names import GROUP, PLURALS, SHORT_NAMES
from scenewright.api.raw import Json
from scenewright.kube.resources import OBJECTS, SECRETS
from scenewright.planning.problems import Problem, SpecError, suggestion

if TYPE_CHECKING:
    # Both import the slow official client, which only commands on a cluster need.
    from scenewright.kube.client import ApiError
    from scenewright.kube.connection import Connection

T = TypeVar("T")

_WATCH_SECONDS = 300
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Reference:
    """Kind and name of an object, without its namespace."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


def parse(text: str) -> Reference:
    """The object that `text` names.

    Raises:
        SpecError: it is not a reference, or not one of our kinds.
    """
    word, slash, name = text.partition("/")
    kind = _kinds().get(word.lower())
    if not slash or not _NAME.fullmatch(name):
        raise SpecError([Problem("object", text, "must be KIND/NAME, such as scenejob/courtyard")])
    if kind is None:
        raise SpecError([Problem("object", text, f"no such kind: {suggestion(word, sorted(_kinds()))}")])
    return Reference(kind, name)


def is_reference(text: str) -> bool:
    """Whether `text` means an object in a cluster; a file or folder of that name wins."""
    return text.partition("/")[0].lower() in _kinds() and not Path(text).exists()


def _kinds() -> dict[str, str]:
    """Kinds by all their names: singular, plural, full and short."""
    names = {kind.lower(): kind for kind in PLURALS}
    names |= {plural: kind for kind, plural in PLURALS.items()}
    names |= {f"{plural}.{GROUP}": kind for kind, plural in PLURALS.items()}
    return names | {short: kind for kind, short in SHORT_NAMES.items()}


class ClusterError(SpecError):
    """The cluster cannot be reached or refuses; says what to do."""


class Gone(Exception):  # noqa: N818 - a state, not an error
    """The watched object was deleted."""


@dataclass(frozen=True)
class Place:
    """Cluster and namespace that the user has chosen; empty for the kubeconfig's defaults.

    Attributes:
        namespace: of the objects; ignored if all namespaces are requested.
        context: of the kubeconfig.
    """

    namespace: str = ""
    context: str = ""


def connect(place: Place) -> Cluster:
    """A connection with the user's credentials.

    Raises:
        ClusterError: the client library is missing, or there are no credentials.
    """
    try:
        from kubernetes.aio import config

        from scenewright.kube import connection
    except ImportError:
        remedy = "needs the Kubernetes client: pip install 'scenewright[cluster]'"
        raise ClusterError([Problem("cluster", place.context or "default", remedy)]) from None
    runner = asyncio.Runner()
    try:
        return Cluster(runner, runner.run(connection.connect(place.context)), place.namespace)
    except (config.ConfigException, OSError) as error:
        where = os.environ.get("KUBECONFIG", "~/.kube/config")
        remedy = f"no usable credentials ({_line(error)}); set KUBECONFIG or give --context"
        raise ClusterError([Problem("kubeconfig", where, remedy)]) from None


class Cluster:
    """A synchronous wrapper of the operator's client, for the commands.

    Args:
        runner: of the connection's event loop.
        namespace: chosen by the user; empty for the connection's default.
    """

    def __init__(self, runner: asyncio.Runner, connection: Connection, namespace: str) -> None:
        from scenewright.kube.client import Client

        self._runner = runner
        self._host = connection.configuration.host
        self._client = Client(connection)
        self.namespace = namespace or connection.namespace
        atexit.register(self._close, connection)

    def get(self, reference: Reference) -> Json:
        return self._wait(self._client.get(OBJECTS[reference.kind], self.namespace, reference.name), str(reference))

    def list(self, all_namespaces: bool) -> list[Json]:
        """The objects of all kinds, sorted by namespace, kind and name."""
        found: list[Json] = []
        namespace = "" if all_namespaces else self.namespace
        for kind, resource in OBJECTS.items():
            page = self._wait(self._client.list(resource, namespace, resourceVersion="0"), resource.plural)
            found += [{**item, "kind": kind} for item in page["items"]]
        return sorted(found, key=lambda each: (each["metadata"]["namespace"], each["kind"], each["metadata"]["name"]))

    def annotate(self, reference: Reference, annotations: dict[str, str]) -> Json:
        """Sets annotations and leaves the spec alone."""
        body = {"metadata": {"annotations": annotations}}
        request = self._client.patch(OBJECTS[reference.kind], self.namespace, reference.name, body)
        return self._wait(request, str(reference))

    def watch(self, reference: Reference) -> Iterator[Json]:
        """Yields the object now and after each change; raises Gone once it is deleted."""
        while True:
            found = self.get(reference)
            yield found
            yield from self._changes(reference, found["metadata"]["resourceVersion"])

    def secret(self, name: str) -> dict[str, str]:
        """The values of a Secret that the user may read."""
        from base64 import b64decode

        found = self._wait(self._client.get(SECRETS, self.namespace, name), f"secret/{name}")
        return {key: b64decode(value).decode() for key, value in found.get("data", {}).items()}

    def _changes(self, reference: Reference, version: str) -> Iterator[Json]:
        """Changes after `version`; ends when the server ends the watch or no longer knows the version."""
        from pydantic_core import from_json

        lines = self._client.watch(
            OBJECTS[reference.kind],
            self.namespace,
            _WATCH_SECONDS + 30,
            fieldSelector=f"metadata.name={reference.name}",
            resourceVersion=version,
            timeoutSeconds=str(_WATCH_SECONDS),
        )
        try:
            while (line := self._wait(anext(lines, None), str(reference))) is not None:
                event = from_json(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] == "DELETED":
                    raise Gone
                yield event["object"]
        finally:
            self._runner.run(lines.aclose())

    def _wait(self, request: Awaitable[T], what: str) -> T:
        """Waits for the response to a request.

        Raises:
            ClusterError: there is no response, or the API server refuses.
        """
        from scenewright.kube.client import ApiError

        try:
            return self._runner.run(_awaited(request))
        except ApiError as error:
            if error.status:
                raise ClusterError([_refusal(error, what, self.namespace)]) from None
            raise ClusterError([Problem("cluster", self._host, f"cannot be reached: {_line(error)}")]) from None

    def _close(self, connection: Connection) -> None:
        # At exit, a thread that watches an object may still be running the loop.
        with contextlib.suppress(RuntimeError):
            self._runner.run(connection.close())
            self._runner.close()


async def _awaited(request: Awaitable[T]) -> T:
    return await request


def _refusal(error: ApiError, what: str, namespace: str) -> Problem:
    """The API server's refusal as a problem with a remedy."""
    if error.status == 404 and "could not find the requested resource" in error.message.lower():
        return Problem(what, namespace, "this cluster does not know the kind: is the Scenewright chart installed?")
    if error.status == 404:
        return Problem(what, namespace, "not found in this namespace; `scenewright status -A` shows all objects")
    return Problem(what, namespace, f"the API server refused ({error.status}): {error.message}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
