"""Actions on a cluster, each one request with the person's own rights."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from scenewright.api.names import RETRY_ANNOTATION
from scenewright.api.raw import Json
from scenewright.kube.client import ApiError
from scenewright.kube.resources import OBJECTS
from scenewright.planning.documents import kind_of, value_at
from scenewright_lab.actions.forms import as_yaml, name_of
from scenewright_lab.actions.interface import Actions, Offer
from scenewright_lab.actions.local import safe_filename
from scenewright_lab.settings import Settings
from scenewright_lab.sources.cluster import ClusterSource, refusal
from scenewright_lab.sources.files import Files
from scenewright_lab.sources.interface import Entry, Person, Refused


class ClusterActions(Actions):
    """Creates and patches objects. The API server decides who may; the page only asks first what to offer."""

    def __init__(self, settings: Settings, source: ClusterSource, files: Files) -> None:
        self._settings = settings
        self._source = source
        self._files = files

    async def namespaces(self, person: Person) -> Sequence[str]:
        known = {*self._settings.namespaces, *(each for each in self._settings.outputs if each != "*")}
        known |= {each.view.namespace for each in await self._source.entries(person)} or {"default"}
        found = sorted(known)
        may = [await self._source.people.may(person, "create", "scenejobs", each) for each in found]
        return [each for each, allowed in zip(found, may, strict=True) if allowed]

    async def place(self, person: Person, namespace: str, name: str) -> str:
        held = self._settings.outputs
        prefixes = held.get(namespace, held.get("*", ()))
        if not prefixes:
            raise Refused(
                f"This page does not know where objects of {namespace} may write: the chart's outputs say it.", 422
            )
        return f"{prefixes[0].replace('{namespace}', namespace).rstrip('/')}/{name}"

    async def store(self, person: Person, namespace: str, name: str, filename: str, content: BinaryIO) -> str:
        if not self._settings.uploads:
            raise Refused("No place for uploads is set: name an input by its address.", 422)
        if not await self._source.people.may(person, "create", "scenejobs", namespace):
            raise Refused("You may not start objects in this namespace.")
        uri = self._settings.uploads.replace("{namespace}", namespace).rstrip("/")
        key = f"{name}-{secrets.token_hex(3)}/{safe_filename(filename)}"
        with tempfile.NamedTemporaryFile() as file:
            await asyncio.to_thread(shutil.copyfileobj, content, file)
            file.flush()
            await self._files.ask("put", uri=uri, key=key, file=str(Path(file.name)))
        return f"{uri}/{key}"

    async def start(self, person: Person, document: Json) -> str:
        kind, namespace = kind_of(document), str(value_at(document, "metadata", "namespace") or "")
        if not namespace:
            raise Refused("The manifest needs metadata.namespace.", 422)
        client = self._source.people.client(person)
        try:
            made = await client.create(OBJECTS[kind], namespace, document)
        except ApiError as error:
            raise refusal(error) from None
        name = f"{namespace}/{kind.lower()}/{made['metadata']['name']}"
        known = self._source.version
        for _ in range(20):
            # The informer hears of it within moments; the page of the object is next.
            if any(each.id == name for each in await self._source.entries(person)):
                break
            known = await self._source.wait(known, 0.25)
        return name

    def start_command(self, document: Json) -> str:
        return f"kubectl apply --server-side -f {name_of(document) or 'object'}.yaml"

    async def offers(self, person: Person, entry: Entry) -> Sequence[Offer]:
        namespace, kind, name = entry.id.split("/")
        if not await self._source.people.may(person, "patch", f"{kind}s", namespace):
            return []
        verb, label = ("resume", "Resume") if entry.suspended else ("suspend", "Suspend")
        patch = self._patch(verb)
        line = f'kubectl -n {namespace} patch {kind}/{name} --type merge -p \'{{"spec":{{"suspend":{_word(verb)}}}}}\''
        offers = [] if entry.view.ended else [Offer(verb, label, line, as_yaml(patch))]
        if entry.view.phase == "Waiting" or (entry.view.ended and entry.has_failed):
            line = f"kubectl scenewright retry {kind}/{name} -n {namespace}"
            offers.append(Offer("retry", "Retry what failed", line, as_yaml(self._patch("retry"))))
        return offers

    async def do(self, person: Person, entry: Entry, verb: str) -> None:
        if verb not in ("retry", "suspend", "resume"):
            raise Refused(f"There is no action {verb}.", 404)
        namespace, kind, name = entry.id.split("/")
        resource = next(each for each in OBJECTS.values() if each.plural == f"{kind}s")
        try:
            await self._source.people.client(person).patch(resource, namespace, name, self._patch(verb))
        except ApiError as error:
            raise refusal(error) from None

    def _patch(self, verb: str) -> Json:
        if verb == "retry":
            token = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
            return {"metadata": {"annotations": {RETRY_ANNOTATION: token}}}
        return {"spec": {"suspend": verb == "suspend"}}


def _word(verb: str) -> str:
    return "true" if verb == "suspend" else "false"
