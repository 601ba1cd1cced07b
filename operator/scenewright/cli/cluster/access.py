"""Objects in a cluster: how a user names them, and how they are read and patched.

The rights are those of the user: kubeconfig as kubectl finds it, else the Pod's account.
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
from typing import TYPE_CHECKING, Any, TypeVar

from scenewright.api.names import GROUP, PLURALS, SHORT_NAMES
from scenewright.kube.resources import OBJECTS, SECRETS
from scenewright.planning.problems import Problem, SpecError, suggestion

if TYPE_CHECKING:
    # Both load the official client, for which only a command on a cluster can wait.
    from scenewright.kube.client import ApiError
    from scenewright.kube.connection import Connection

Json = dict[str, Any]
T = TypeVar("T")

_WATCH_SECONDS = 300
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Reference:
    """An object of a namespace that is not known yet."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


def parse(text: str) -> Reference:
    """The object that `text` names.

    Raises:
        SpecError: it is no reference, or of no kind of ours.
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
    """Kind by every name that it has."""
    names = {kind.lower(): kind for kind in PLURALS}
    names |= {plural: kind for kind, plural in PLURALS.items()}
    names |= {f"{plural}.{GROUP}": kind for kind, plural in PLURALS.items()}
    return names | {short: kind for kind, short in SHORT_NAMES.items()}


class ClusterError(SpecError):
    """The cluster cannot be asked, or refuses; says what to do."""


class Gone(Exception):  # noqa: N818 - a state, not an error
    """The watched object was deleted."""


@dataclass(frozen=True)
class Place:
    """Which cluster and namespace the user means; empty: what the kubeconfig says.

    Attributes:
        namespace: of the objects; ignored where all namespaces are asked for.
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
    """What the commands need of a cluster: the operator's own client, waited for.

    Args:
        runner: of the event loop to which the connection belongs.
        namespace: that the user has named; empty: the connection's own.
    """

    def __init__(self, runner: asyncio.Runner, connection: Connection, namespace: str) -> None:
        from scenewright.kube.client import Client

        self._runner = runner
        self._host = connection.configuration.host
        self._client = Client(connection)
        self.namespace = namespace or connection.namespace
        atexit.register(self._close, connection)

    def get(self, reference: Reference) -> Json:
        """One object."""
        return self._wait(self._client.get(OBJECTS[reference.kind], self.namespace, reference.name), str(reference))

    def list(self, all_namespaces: bool) -> list[Json]:
        """The objects of all kinds, by kind, namespace and name."""
        found: list[Json] = []
        namespace = "" if all_namespaces else self.namespace
        for kind, resource in OBJECTS.items():
            page = self._wait(self._client.list(resource, namespace, resourceVersion="0"), resource.plural)
            found += [{**item, "kind": kind} for item in page["items"]]
        return sorted(found, key=lambda each: (each["metadata"]["namespace"], each["kind"], each["metadata"]["name"]))

    def annotate(self, reference: Reference, annotations: dict[str, str]) -> Json:
        """Sets annotations; the spec is left alone."""
        body = {"metadata": {"annotations": annotations}}
        request = self._client.patch(OBJECTS[reference.kind], self.namespace, reference.name, body)
        return self._wait(request, str(reference))

    def watch(self, reference: Reference) -> Iterator[Json]:
        """The object now, and after each of its changes; Gone once it is deleted."""
        while True:
            found = self.get(reference)
            yield found
            yield from self._changes(reference, found["metadata"]["resourceVersion"])

    def secret(self, name: str) -> dict[str, str]:
        """The values of a Secret, which the user must be allowed to read."""
        from base64 import b64decode

        found = self._wait(self._client.get(SECRETS, self.namespace, name), f"secret/{name}")
        return {key: b64decode(value).decode() for key, value in found.get("data", {}).items()}

    def _changes(self, reference: Reference, version: str) -> Iterator[Json]:
        """Changes after `version`; ends when the server ends the watch or knows that version no more."""
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
        """The answer to a request.

        Raises:
            ClusterError: there is none, or the API server refuses.
        """
        from scenewright.kube.client import ApiError

        try:
            return self._runner.run(_awaited(request))
        except ApiError as error:
            if error.status:
                raise ClusterError([_refusal(error, what, self.namespace)]) from None
            raise ClusterError([Problem("cluster", self._host, f"cannot be reached: {_line(error)}")]) from None

    def _close(self, connection: Connection) -> None:
        # A thread that follows an object to the process's end still holds the loop.
        with contextlib.suppress(RuntimeError):
            self._runner.run(connection.close())
            self._runner.close()


async def _awaited(request: Awaitable[T]) -> T:
    return await request


def _refusal(error: ApiError, what: str, namespace: str) -> Problem:
    """What the API server said, and what to do about it."""
    if error.status == 404 and "could not find the requested resource" in error.message.lower():
        return Problem(what, namespace, "this cluster does not know the kind: is the Scenewright chart installed?")
    if error.status == 404:
        return Problem(what, namespace, "not found in this namespace; `scenewright status -A` shows all objects")
    return Problem(what, namespace, f"the API server refused ({error.status}): {error.message}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
