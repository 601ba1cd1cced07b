"""The objects of a cluster, followed by the operator's informers: no page lists anything from the API server.

The page reads with its own read-only rights and shows a person what that person may list: it asks the API server with
the person's own token (SelfSubjectAccessReview) and keeps the answer for a minute. What is read for one person only
(manifest, events, logs of Pods) is read with that token, and so is everything that is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kubernetes.aio.client import Configuration

from scenewright.api.raw import Json, RawJson
from scenewright.api.uris import contains, normalised
from scenewright.cli.cluster.views import view_of
from scenewright.execution.jobs.names import KIND, MANAGED_SELECTOR, OBJECT, STEP
from scenewright.kube.client import ApiError, Client
from scenewright.kube.connection import Connection, connect
from scenewright.kube.resources import EVENTS, OBJECTS, PODS, Resource
from scenewright.planning.documents import value_at
from scenewright.reconcile.cache.observation import Owned
from scenewright.reconcile.cache.store import Store
from scenewright.reconcile.watch.informer import Informer
from scenewright_lab.settings import Settings
from scenewright_lab.sources.files import Files
from scenewright_lab.sources.interface import Entry, Log, NotFound, Person, Picture, Refused, Source, Unavailable
from scenewright_lab.sources.tree import stored_logs

ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False)
REVIEW_SECONDS = 60.0
AWAY_SECONDS = 5.0
MOST_PEOPLE = 200
MOST_LOGS = 8
LOG_LINES = 200
FIRST_LIST_SECONDS = 20.0
_KINDS = {kind.lower(): kind for kind in OBJECTS}


@dataclass(frozen=True, slots=True)
class Watched(Owned):
    """An object as the informer keeps it."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class WatchedPod(Owned):
    """A running Pod of the operator: its object and step, and the GPUs that it holds."""

    object_id: str
    step: str
    gpus: int


class People:
    """Connections with people's own tokens, and what they may do.

    Args:
        own: connection of this process.
        personal: people have tokens; otherwise everybody is the owner of the connection's credentials.
    """

    def __init__(self, own: Connection, personal: bool) -> None:
        self._own = own
        self._personal = personal
        self._clients: OrderedDict[str, tuple[Connection, Client]] = OrderedDict()
        self._reviews: OrderedDict[tuple[str, str, str, str], tuple[float, bool]] = OrderedDict()

    async def close(self) -> None:
        """Closes all connections but the own one."""
        for connection, _ in self._clients.values():
            await connection.close()

    def client(self, person: Person) -> Client:
        """A client with the person's credentials, and only those."""
        if not self._personal:
            return Client(self._own)
        if not person.token:
            raise Refused("Sign in first.", 401)
        if person.key not in self._clients:
            own = self._own.configuration
            mine = Configuration(host=own.host, ssl_ca_cert=own.ssl_ca_cert, verify_ssl=own.verify_ssl)
            mine.api_key, mine.api_key_prefix = {"BearerToken": person.token}, {"BearerToken": "Bearer"}
            mine.tls_server_name = own.tls_server_name
            connection = Connection(mine, self._own.namespace)
            self._clients[person.key] = (connection, Client(connection))
        self._clients.move_to_end(person.key)
        if len(self._clients) > MOST_PEOPLE:
            _, (oldest, _) = self._clients.popitem(last=False)
            self._closing = asyncio.create_task(oldest.close())
        return self._clients[person.key][1]

    async def may(self, person: Person, verb: str, plural: str, namespace: str, group: str = "scenewright.io") -> bool:
        """Whether the person may do this; asks the API server at most once a minute."""
        if not self._personal:
            return True
        name = (person.key, verb, f"{plural}.{group}", namespace)
        known = self._reviews.get(name)
        if known is not None and time.monotonic() - known[0] < REVIEW_SECONDS:
            return known[1]
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": plural}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            answer = await self.client(person).create(ACCESS_REVIEWS, "", body)
        except ApiError as error:
            raise refusal(error) from None
        allowed = bool(value_at(answer, "status", "allowed"))
        self._reviews[name] = (time.monotonic(), allowed)
        while len(self._reviews) > 20 * MOST_PEOPLE:
            self._reviews.popitem(last=False)
        return allowed


class ClusterSource(Source):
    """Objects of the watched namespaces.

    Args:
        settings: namespaces, context, headers of tokens, and the prefixes that may be read by namespace.
        files: the storage process.
    """

    def __init__(self, settings: Settings, files: Files) -> None:
        super().__init__()
        self.title = f"cluster {settings.context or 'of this kubeconfig'}" if settings.is_local else "this cluster"
        self._settings = settings
        self._files = files
        self._stores = {kind: Store[Watched](changed=self._note) for kind in OBJECTS}
        self._pods = Store[WatchedPod](changed=lambda old, new: self.note_change())
        self._away_since = 0.0
        self._details: dict[str, tuple[str, Json]] = {}
        self._wanted: asyncio.Queue[Entry] = asyncio.Queue(maxsize=5000)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        try:
            self._connection = await connect(self._settings.context)
        except Exception as error:
            raise Unavailable(f"no usable credentials for a cluster: {error}") from None
        self.people = People(self._connection, bool(self._settings.token_headers))
        client = Client(self._connection, self._observe)
        informers: list[Informer[Watched] | Informer[WatchedPod]] = []
        for namespace in self._settings.namespaces or ("",):
            for kind, resource in OBJECTS.items():
                project = _projection(kind, self)
                informers.append(Informer(client, resource, self._stores[kind], project, "", namespace))
            informers.append(Informer(client, PODS, self._pods, _pod, MANAGED_SELECTOR, namespace))
        self._tasks = [asyncio.create_task(each.run()) for each in informers]
        self._tasks += [asyncio.create_task(self._watch_health()), asyncio.create_task(self._read_details())]
        answered = asyncio.gather(*(each.answered.wait() for each in informers))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LIST_SECONDS):
                await answered

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.people.close()
        await self._connection.close()

    async def entries(self, person: Person) -> Sequence[Entry]:
        found = [(kind, each) for kind, store in self._stores.items() for each in store]
        wanted = {(kind, each.namespace) for kind, each in found}
        allowed = await self._listable(person, wanted)
        shown = [self._detailed(each.entry) for kind, each in found if (kind, each.namespace) in allowed]
        return sorted(shown, key=lambda each: -each.modified)

    async def entry(self, person: Person, name: str) -> Entry:
        namespace, kind, plain = self._parts(name)
        # The right is asked first: who may not look learns nothing, not even by time, of what there is.
        if not await self.people.may(person, "get", OBJECTS[kind].plural, namespace):
            raise NotFound(name)
        found = self._stores[kind].get(namespace, plain)
        if found is None:
            raise NotFound(name)
        return self._detailed(found.entry)

    async def document(self, person: Person, entry: Entry) -> Json:
        raw = await self.read(person, entry)
        metadata = {
            name: raw["metadata"][name] for name in ("name", "namespace", "labels") if raw["metadata"].get(name)
        }
        return {"apiVersion": raw["apiVersion"], "kind": raw["kind"], "metadata": metadata, "spec": raw["spec"]}

    async def read(self, person: Person, entry: Entry) -> Json:
        """The whole object, read with the person's own rights."""
        namespace, kind, plain = self._parts(entry.id)
        try:
            found = await self.people.client(person).get(OBJECTS[kind], namespace, plain)
        except ApiError as error:
            raise refusal(error) from None
        return {"kind": kind, **found}

    async def logs(self, person: Person, entry: Entry) -> list[Log]:
        namespace, _, _ = self._parts(entry.id)
        pods = [pod for pod in self._pods if pod.object_id == entry.id]
        found = []
        for pod in sorted(pods, key=lambda each: each.name)[-MOST_LOGS:]:
            try:
                text = await self.people.client(person).log(namespace, pod.name, LOG_LINES)
            except ApiError as error:
                text = f"({error.message or error.reason})"
            found.append(Log(f"{pod.step}: {pod.name}", text))
        return found or await stored_logs(self._files, entry)

    async def events(self, person: Person, entry: Entry) -> list[str]:
        namespace, kind, plain = self._parts(entry.id)
        selector = f"involvedObject.kind={kind},involvedObject.name={plain}"
        try:
            answer = await self.people.client(person).list(EVENTS, namespace, fieldSelector=selector, limit="50")
        except ApiError as error:
            return [f"Events cannot be read: {error.message or error.reason}"]
        items = sorted(answer.get("items") or (), key=lambda each: str(each.get("lastTimestamp") or ""), reverse=True)
        return [f"{each.get('type', '')} {each.get('reason', '')}: {each.get('message', '')}" for each in items]

    async def gpus(self, person: Person) -> int | None:
        allowed = {
            each: await self.people.may(person, "list", "pods", each, "")
            for each in {pod.namespace for pod in self._pods}
        }
        return sum(pod.gpus for pod in self._pods if allowed[pod.namespace])

    def readable(self, namespace: str, uri: str) -> str:
        """The URI if this page may read there for objects of the namespace, else nothing.

        An object says itself where its results are. Without this check it could name those of another namespace, and
        this page would read them with its own rights.
        """
        if not uri.startswith("s3://"):
            return ""
        if not self._settings.token_headers:
            return uri.rstrip("/")
        held = self._settings.outputs
        prefixes = held.get(namespace, held.get("*", ()))
        plain = normalised(uri)
        inside = any(contains(normalised(each.replace("{namespace}", namespace)), plain) for each in prefixes)
        return uri.rstrip("/") if inside and ".." not in uri.split("/") else ""

    def want_details(self, entry: Entry) -> None:
        """Reads pictures and licences of a finished object in the background, once for each of its runs."""
        known = self._details.get(entry.id)
        if entry.uri and entry.view.ended and (known is None or known[0] != entry.view.run):
            with contextlib.suppress(asyncio.QueueFull):
                self._wanted.put_nowait(entry)

    def _detailed(self, entry: Entry) -> Entry:
        known = self._details.get(entry.id)
        if known is None or known[0] != entry.view.run or not entry.uri:
            return entry
        found = known[1]
        return replace(
            entry,
            pictures=tuple(Picture(**each) for each in found["pictures"]),
            licences=tuple(found["summary"].get("licences") or ()),
            backends=tuple(found["summary"].get("backends") or ()),
        )

    async def _read_details(self) -> None:
        while True:
            entry = await self._wanted.get()
            try:
                _, content = await self._files.ask("object", uri=entry.uri)
                self._details[entry.id] = (entry.view.run, json.loads(content))
                self.note_change()
            except NotFound:
                continue
            except Unavailable:
                await asyncio.sleep(10.0)
                self.want_details(entry)

    async def _listable(self, person: Person, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those kinds and namespaces of which the person may list the objects."""
        everywhere = {kind for kind in {kind for kind, _ in wanted} if await self._may_list(person, kind, "")}
        rest = sorted(each for each in wanted if each[0] not in everywhere)
        allowed = await asyncio.gather(*(self._may_list(person, *each) for each in rest))
        named = {each for each, may in zip(rest, allowed, strict=True) if may}
        return named | {each for each in wanted if each[0] in everywhere}

    async def _may_list(self, person: Person, kind: str, namespace: str) -> bool:
        return await self.people.may(person, "list", OBJECTS[kind].plural, namespace)

    def _parts(self, name: str) -> tuple[str, str, str]:
        """Namespace, kind and name in an id."""
        namespace, _, rest = name.partition("/")
        word, _, plain = rest.partition("/")
        if word not in _KINDS or not namespace or not plain or "/" in plain:
            raise NotFound(name)
        return namespace, _KINDS[word], plain

    def _note(self, old: Watched | None, new: Watched | None) -> None:
        if new is not None:
            self.want_details(new.entry)
        elif old is not None:
            self._details.pop(old.entry.id, None)
        self.note_change()

    def _observe(self, verb: str, plural: str, status: int) -> None:
        if status and status < 500:
            self._away_since = 0.0
        elif not self._away_since:
            self._away_since = time.monotonic()

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            away = self._away_since and time.monotonic() - self._away_since > AWAY_SECONDS
            problem = (
                "The API server does not answer. This page shows what it knew before, and tries again." if away else ""
            )
            if problem != self.problem:
                self.problem = problem
                self.note_change()


def refusal(error: ApiError) -> Exception:
    """The API server's answer as an error that a page explains."""
    if error.status == 404:
        return NotFound(error.message)
    if error.passing:
        return Unavailable(str(error))
    if error.status == 401:
        return Refused("The API server does not accept your token: sign in again.", 401)
    return Refused(error.message or error.reason, error.status if error.status in (403, 409, 422) else 403)


def _projection(kind: str, source: ClusterSource):  # type: ignore[no-untyped-def]
    def project(raw: Json) -> Watched:
        metadata = raw["metadata"]
        entry = _entry({"kind": kind, **raw}, source)
        return Watched(metadata["namespace"], metadata["name"], metadata["uid"], "", entry)

    return project


def _entry(raw: RawJson, source: ClusterSource) -> Entry:
    metadata, status = raw["metadata"], raw.get("status") or {}
    view = view_of(raw, datetime.now(UTC))
    times = [_seconds(each.get("lastTransitionTime")) for each in status.get("conditions") or ()]
    times += [_seconds(each.get("finishedAt") or each.get("startedAt")) for each in status.get("stages") or ()]
    ended = [
        (_seconds(each.get("finishedAt")), value_at(each, "samples", "done") or 0, each.get("gpuSeconds", 0.0))
        for each in status.get("stages") or ()
        if each.get("finishedAt")
    ]
    return Entry(
        id=f"{metadata['namespace']}/{raw['kind'].lower()}/{metadata['name']}",
        view=view,
        uri=source.readable(metadata["namespace"], str(value_at(raw, "spec", "output", "uri") or "")),
        labels=dict(metadata.get("labels") or {}),
        ended=tuple(ended),
        suspended=bool(value_at(raw, "spec", "suspend")),
        modified=max([_seconds(metadata.get("creationTimestamp")), *times]),
    )


def _pod(raw: Json) -> WatchedPod | None:
    if value_at(raw, "status", "phase") not in ("Pending", "Running"):
        return None
    metadata = raw["metadata"]
    requests = [value_at(each, "resources", "limits") or {} for each in raw["spec"].get("containers") or ()]
    gpus = sum(int(number) for each in requests for name, number in each.items() if name.endswith("/gpu"))
    labels = metadata.get("labels") or {}
    running = value_at(raw, "status", "phase") == "Running"
    place = (metadata["namespace"], metadata["name"], metadata["uid"], "")
    object_id = f"{metadata['namespace']}/{labels.get(KIND, '').lower()}/{labels.get(OBJECT, '')}"
    return WatchedPod(*place, object_id, labels.get(STEP, ""), gpus if running else 0)


def _seconds(text: object) -> float:
    """A time of the API server in seconds since the epoch; 0 if there is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else 0.0
    except ValueError:
        return 0.0
