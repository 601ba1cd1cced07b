"""Objects in a cluster: how a user names them, and how they are read and patched.

The rights are those of the user: kubeconfig as kubectl finds it, else the Pod's account.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenewright.planning.problems import Problem, SpecError, suggestion

Json = dict[str, Any]

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CONNECT_SECONDS = 5
_WATCH_SECONDS = 300
_MERGE_PATCH = "application/merge-patch+json"
# The names of scenewright.api.kinds, whose models take a third of a second to load; a test compares them.
PLURALS = {"SceneJob": "scenejobs", "DatasetJob": "datasetjobs", "TuningRun": "tuningruns"}
SHORT_NAMES = {"SceneJob": "scene", "DatasetJob": "dsj", "TuningRun": "tune"}
GROUP, VERSION = "scenewright.io", "v1alpha1"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Reference:
    """An object of a namespace that is not known yet."""

    kind: str
    name: str

    @property
    def plural(self) -> str:
        """As the API's paths have it."""
        return PLURALS[self.kind]

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
        from kubernetes import config
    except ImportError:
        remedy = "needs the Kubernetes client: pip install 'scenewright[cluster]'"
        raise ClusterError([Problem("cluster", place.context or "default", remedy)]) from None
    try:
        client, namespace = _credentials(config, place)
    except (config.ConfigException, OSError) as error:
        where = os.environ.get("KUBECONFIG", "~/.kube/config")
        remedy = f"no usable credentials ({_line(error)}); set KUBECONFIG or give --context"
        raise ClusterError([Problem("kubeconfig", where, remedy)]) from None
    return Cluster(client, place.namespace or namespace)


def _credentials(config: Any, place: Place) -> tuple[Any, str]:
    """The client and its namespace: inside a Pod without a kubeconfig those of the Pod's account."""
    from kubernetes import client

    has_file = bool(os.environ.get("KUBECONFIG")) or Path(config.KUBE_CONFIG_DEFAULT_LOCATION).expanduser().exists()
    if not has_file and _POD_NAMESPACE.exists():
        config.load_incluster_config()
        return client.ApiClient(), _POD_NAMESPACE.read_text(encoding="utf-8").strip()
    contexts, active = config.list_kube_config_contexts()
    chosen = next((each for each in contexts if each["name"] == place.context), active)
    if place.context and chosen["name"] != place.context:
        names = ", ".join(each["name"] for each in contexts)
        raise config.ConfigException(f"no context {place.context!r}: there are {names}")
    api = config.new_client_from_config(context=chosen["name"])
    return api, chosen["context"].get("namespace") or "default"


class Cluster:
    """What the commands need of a cluster: plain JSON over the official client's connection."""

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    def get(self, reference: Reference) -> Json:
        """One object."""
        return self._call("GET", self._path(reference), str(reference))

    def list(self, all_namespaces: bool) -> list[Json]:
        """The objects of all kinds, by kind, namespace and name."""
        found: list[Json] = []
        for kind, plural in PLURALS.items():
            page = self._call("GET", self._collection(plural, all_namespaces), plural, {"resourceVersion": "0"})
            found += [{**item, "kind": kind} for item in page["items"]]
        return sorted(found, key=lambda each: (each["metadata"]["namespace"], each["kind"], each["metadata"]["name"]))

    def annotate(self, reference: Reference, annotations: dict[str, str]) -> Json:
        """Sets annotations; the spec is left alone."""
        body = {"metadata": {"annotations": annotations}}
        return self._call("PATCH", self._path(reference), str(reference), body=body)

    def watch(self, reference: Reference) -> Iterator[Json]:
        """The object now, and after each of its changes; Gone once it is deleted."""
        while True:
            found = self.get(reference)
            yield found
            yield from self._changes(reference, found["metadata"]["resourceVersion"])

    def secret(self, name: str) -> dict[str, str]:
        """The values of a Secret, which the user must be allowed to read."""
        from base64 import b64decode

        found = self._call("GET", f"/api/v1/namespaces/{self.namespace}/secrets/{name}", f"secret/{name}")
        return {key: b64decode(value).decode() for key, value in found.get("data", {}).items()}

    def _changes(self, reference: Reference, version: str) -> Iterator[Json]:
        """Changes after `version`; ends when the server ends the watch or knows that version no more."""
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={reference.name}",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        answer = self._open(
            "GET", self._collection(reference.plural, False), str(reference), query, read_seconds=_WATCH_SECONDS + 30
        )
        try:
            for line in _lines(answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] == "DELETED":
                    raise Gone
                yield event["object"]
        finally:
            answer.release_conn()

    def _path(self, reference: Reference) -> str:
        return f"{self._collection(reference.plural, False)}/{reference.name}"

    def _collection(self, plural: str, all_namespaces: bool) -> str:
        space = "" if all_namespaces else f"/namespaces/{self.namespace}"
        return f"/apis/{GROUP}/{VERSION}{space}/{plural}"

    def _call(self, method: str, path: str, what: str, query: dict[str, str] | None = None, body: Any = None) -> Json:
        answer: Json = json.loads(self._open(method, path, what, query or {}, body).data)
        return answer

    def _open(
        self, method: str, path: str, what: str, query: dict[str, str], body: Any = None, read_seconds: int = 30
    ) -> Any:
        """The answer of the API server with its body still to be read."""
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json", **({"Content-Type": _MERGE_PATCH} if body is not None else {})}
        request = self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._api.call_api(*request, _request_timeout=(_CONNECT_SECONDS, read_seconds)).response
        except (HTTPError, OSError) as error:
            host = self._api.configuration.host
            raise ClusterError([Problem("cluster", host, f"cannot be reached: {_line(error)}")]) from None
        if answer.status >= 400:
            raise ClusterError([_refusal(answer.status, answer.data, what, self.namespace)])
        return answer


def _lines(answer: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in answer.stream(amt=None, decode_content=True):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line)


def _refusal(status: int, body: bytes, what: str, namespace: str) -> Problem:
    """What the API server said, and what to do about it."""
    try:
        message = json.loads(body)["message"]
    except (TypeError, ValueError, KeyError):
        message = body[:200].decode(errors="replace")
    if status == 404 and "could not find the requested resource" in message.lower():
        return Problem(what, namespace, "this cluster does not know the kind: is the Scenewright chart installed?")
    if status == 404:
        return Problem(what, namespace, "not found in this namespace; `scenewright status -A` shows all objects")
    return Problem(what, namespace, f"the API server refused ({status}): {message}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
