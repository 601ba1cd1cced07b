"""The informer survives what watches do to it, and finds out what is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from pydantic_core import to_json

from scenewright.kube import client
from scenewright.kube.client import ApiError, Client
from scenewright.kube.resources import PODS
from scenewright.reconcile.cache.store import Store
from scenewright.reconcile.watch.informer import Informer


@dataclass(frozen=True)
class Thing:
    namespace: str
    name: str
    uid: str
    owner_uid: str = "owner"


def thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"namespace": "lab", "name": name, "uid": f"{name}-uid", "resourceVersion": str(version)}}


def event(kind: str, content: dict[str, Any]) -> bytes:
    return to_json({"type": kind, "object": content})


def project(content: dict[str, Any]) -> Thing:
    metadata = content["metadata"]
    return Thing(metadata["namespace"], metadata["name"], metadata["uid"])


class Script:
    """An API server that plays lists and watches in order; after the last it hangs."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.calls: list[tuple[str, str]] = []
        self.over = asyncio.Event()

    async def _next(self, verb: str, version: str) -> Any:
        self.calls.append((verb, version))
        if not self.steps:
            self.over.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def pages(self, *_: Any, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        for page in await self._next("list", ""):
            yield page

    async def watch(self, *_: Any, **parameters: str) -> AsyncIterator[bytes]:
        for line in await self._next("watch", parameters["resourceVersion"]):
            if isinstance(line, Exception):
                raise line
            yield line


def page(version: int, *items: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"metadata": {"resourceVersion": str(version)}, "items": list(items)}]


def played(*steps: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Names that are known afterwards, the calls that were made, and what was told."""
    told: list[str] = []
    store: Store[Thing] = Store(lambda old, new: told.append(f"+{new.name}" if new else f"-{old.name}"))  # type: ignore[union-attr]

    async def run() -> list[tuple[str, str]]:
        script = Script(*steps)
        informer = Informer(cast(Client, script), PODS, store, project, "managed=true")

        async def no_pause(_error: ApiError) -> None:
            await asyncio.sleep(0)

        monkeypatch.setattr(informer, "_pause", no_pause)
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(script.over.wait(), 5.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return script.calls

    calls = asyncio.run(run())
    return sorted(each.name for each in store), calls, told


def test_a_list_and_a_watch_fill_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (page(5, thing("a", 3)), [event("ADDED", thing("b", 6)), event("DELETED", thing("a", 7))])
    names, calls, told = played(*steps, monkeypatch=monkeypatch)
    assert names == ["b"]
    assert told == ["+a", "+b", "-a"]
    assert calls == [("list", ""), ("watch", "5"), ("watch", "7")]


def test_a_list_of_nothing_may_have_no_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the API server writes an empty list of metadata only: `null`."""
    empty = {"metadata": {"resourceVersion": "5"}, "items": None}
    names, calls, _ = played([empty], [event("ADDED", thing("a", 6))], monkeypatch=monkeypatch)
    assert (names, calls[:2]) == (["a"], [("list", ""), ("watch", "5")])


class PagedServer(Client):
    """Three pages, each refused as often as `errors` has one for it."""

    def __init__(self, errors: dict[str, list[ApiError]]) -> None:
        self.errors = errors
        self.asked: list[str] = []

    async def _request(self, _verb: str, _resource: Any, _path: str, *arguments: Any, **_: Any) -> dict[str, Any]:
        token = arguments[0].get("continue", "")
        self.asked.append(token)
        if self.errors.get(token):
            raise self.errors[token].pop()
        following = {"": "second", "second": "third", "third": ""}[token]
        return {"metadata": {"continue": following}, "items": [token]}

    async def read(self) -> list[str]:
        return [item async for found in self.pages(PODS) for item in found["items"]]


def test_a_page_that_was_refused_is_asked_for_again_and_the_list_does_not_restart() -> None:
    busy = ApiError(429, "TooManyRequests", "busy", retry_after=0.001)
    server = PagedServer({"third": [busy, busy]})
    assert asyncio.run(server.read()) == ["", "second", "third"]
    assert server.asked == ["", "second", "third", "third", "third"]


def test_a_first_page_and_a_page_that_is_too_old_are_the_lists_own_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    expired, busy = ApiError(410, "Expired", "too old"), ApiError(500, "InternalError", "oh")
    monkeypatch.setattr(client, "_PAGE_PAUSES", (0.001, 0.001))
    for errors, asked in (({"second": [expired]}, 2), ({"": [busy]}, 1), ({"third": [busy] * 3}, 5)):
        server = PagedServer(errors)
        with pytest.raises(ApiError):
            asyncio.run(server.read())
        assert len(server.asked) == asked


def test_all_pages_of_a_list_count(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ([*page(5, thing("a", 3)), *page(5, thing("b", 4))],)
    assert played(*steps, monkeypatch=monkeypatch)[0] == ["a", "b"]


def test_a_bookmark_moves_the_version_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "50"}})
    assert played(page(5), [bookmark], monkeypatch=monkeypatch)[1][-1] == ("watch", "50")


@pytest.mark.parametrize(
    "gone",
    [ApiError(410, "Expired", "too old"), [event("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})]],
)
def test_after_410_a_list_reports_deletions(gone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (page(5, thing("a", 3), thing("b", 4)), gone, page(90, thing("b", 4)))
    names, calls, told = played(*steps, monkeypatch=monkeypatch)
    assert names == ["b"]
    assert told == ["+a", "+b", "-a"]
    assert calls[-1] == ("watch", "90")


@pytest.mark.parametrize("error", [ApiError(0, "", "cut"), ApiError(429, "", "busy"), ApiError(500, "", "oh")])
def test_a_failed_watch_continues_from_where_it_was(error: ApiError, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (page(5), [event("ADDED", thing("a", 6)), error], [event("ADDED", thing("b", 7))])
    names, calls, _ = played(*steps, monkeypatch=monkeypatch)
    assert names == ["a", "b"]
    assert calls == [("list", ""), ("watch", "5"), ("watch", "6"), ("watch", "7")]


def test_a_failed_list_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (ApiError(500, "", "oh"), ApiError(0, "", "cut"), page(5, thing("a", 3)))
    assert played(*steps, monkeypatch=monkeypatch)[0] == ["a"]


def test_a_version_that_the_server_does_not_know_leads_to_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restore from a backup the old version lies in the future."""
    failures = [ApiError(504, "Timeout", "too large resource version")] * 3
    steps = (page(900, thing("a", 800), thing("lost", 850)), *failures, page(400, thing("a", 300)))
    names, calls, _ = played(*steps, monkeypatch=monkeypatch)
    assert names == ["a"]
    assert calls[-1] == ("watch", "400")
