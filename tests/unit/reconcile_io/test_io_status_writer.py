"""Status is written when something changed, by a minimal patch with a version, and not too often."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import api_objects as raw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright.api.status import Condition, Status
from scenewright.kube.client import ApiError, Client
from scenewright.reconcile.cache.projection import observed_object
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.status.writing import (
    StatusWriter,
    merge_patch,
    status_document,
)
from scenewright.telemetry.metrics import STATUS_WRITES

SOME_JSON = st.recursive(
    st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("xyz"), SOME_JSON, max_size=3)


class FakeApi:
    """Takes status patches."""

    def __init__(self) -> None:
        self.patches: list[dict[str, Any]] = []
        self.error: ApiError | None = None

    async def patch(self, _resource: Any, _namespace: str, _name: str, body: Any, subresource: str) -> dict[str, Any]:
        assert subresource == "status"
        if self.error:
            raise self.error
        self.patches.append(body)
        return {"kind": "SceneJob", **raw.scene()}


class Leading:
    """A leader until it is told otherwise."""

    leads = True

    def check(self) -> None:
        if not self.leads:
            raise NotLeading


class Bench:
    """A writer with all that it needs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.api = FakeApi()
        self.leading = Leading()
        self.written: list[dict[str, Any]] = []
        api, leadership = cast(Client, self.api), cast(Leadership, self.leading)
        self.writer = StatusWriter(api, leadership, self.written.append, 10.0, lambda: self.now)

    def write(
        self, status: Status, before: dict[str, Any] | None = None, urgent: bool = True, uid: str = "yard-uid"
    ) -> float | None:
        document = raw.scene()
        document["status"] = before or {}
        document["metadata"]["uid"] = uid
        return asyncio.run(self.writer.write(observed_object(document, "SceneJob"), status, urgent))


def apply(document: Any, patch: Any) -> Any:
    """RFC 7396, as the API server does it."""
    if not isinstance(patch, dict):
        return patch
    merged = copy.deepcopy(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = apply(merged.get(name), value)
    return merged


@given(DOCUMENTS, DOCUMENTS)
def test_the_patch_makes_the_new_of_the_old(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert apply(old, patch) == new
    assert bool(patch) == (old != new)


def test_a_status_is_written_with_uid_and_version() -> None:
    bench = Bench()
    assert bench.write(Status(phase="Running")) is None
    assert bench.api.patches[0]["metadata"] == {"uid": "yard-uid", "resourceVersion": "110"}
    assert bench.api.patches[0]["status"]["phase"] == "Running"
    assert bench.written


def test_an_equal_status_is_not_written_even_where_the_api_server_has_filled_in_empty_fields() -> None:
    bench = Bench()
    status = Status(phase="Running", conditions=[Condition(type="Accepted", status="True")])
    before = status_document(status) | {"rate": "", "planOnly": False, "outputs": {"report": ""}, "failures": []}
    bench.write(status, before)
    assert bench.api.patches == []


def test_progress_is_held_back_and_urgent_changes_are_not() -> None:
    bench = Bench()
    bench.write(Status(phase="Running"))
    assert bench.write(Status(phase="Running", progress="1/9"), urgent=False) == pytest.approx(10.0)
    bench.write(Status(phase="Publishing"), urgent=True)
    assert len(bench.api.patches) == 2
    bench.now += 10.0
    assert bench.write(Status(phase="Publishing", progress="9/9"), urgent=False) is None
    assert len(bench.api.patches) == 3


def test_the_more_objects_run_the_more_seldom_each_is_written_for_mere_progress() -> None:
    bench = Bench()
    due = []
    for number in range(600):
        bench.write(Status(phase="Running"), uid=f"uid-{number}")
        due.append(bench.writer.progress_due("uid-0"))
    assert (due[0], due[19], due[99], due[-1]) == (10.0, 10.0, 50.0, 180.0)
    for number in range(100, 600):
        bench.writer.forget(f"uid-{number}")
    for number in range(40, 100):
        bench.write(Status(phase="Waiting"), uid=f"uid-{number}")
    assert bench.writer.progress_due("uid-0") == 20.0, "what has ended or waits does not count"
    bench.now += 19.0
    assert bench.write(Status(phase="Running", progress="1/9"), urgent=False, uid="uid-0") == pytest.approx(1.0)
    assert bench.writer.progress_due("unknown") == 0.0


def test_writes_of_mere_progress_are_counted_apart() -> None:
    """They come again as long as an object runs; the others are as many as its work has steps."""

    def counted() -> list[float]:
        return [STATUS_WRITES.labels(result)._value.get() for result in ("written", "progress")]

    bench = Bench()
    before = counted()
    bench.write(Status(progress="1/2"))
    bench.now = 60.0
    bench.write(Status(progress="2/2"), before={"progress": "1/2"}, urgent=False)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1.0, 1.0]


def test_a_conflict_is_reported_to_the_caller() -> None:
    bench = Bench()
    bench.api.error = ApiError(409, "Conflict", "the object has been modified")
    with pytest.raises(ApiError):
        bench.write(Status(phase="Running"))
    assert not bench.written


def test_who_does_not_lead_writes_nothing() -> None:
    bench = Bench()
    bench.leading.leads = False
    with pytest.raises(NotLeading):
        bench.write(Status(phase="Running"))
    assert bench.api.patches == []
