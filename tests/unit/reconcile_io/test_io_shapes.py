"""What a watch decodes of Jobs and Pods is all that their projections read."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

import api_objects as raw
import pytest
from pydantic_core import to_json

from scenewright.reconcile.cluster.decoding import Event, event_decoder
from scenewright.reconcile.projection import CachedPod, observed_job, observed_pod
from scenewright.reconcile.shapes import JobShape, PodShape

MANAGED = [{"manager": "kubelet", "fieldsV1": {"f:spec": {'k:{"name":"a"}': {".": {}}}, "f:metadata": {}}}]
AT = "2026-11-21T11:00:00Z"


def decoded(shape: Any, content: dict[str, Any], kind: str = "MODIFIED") -> Event:
    return event_decoder(shape)(to_json({"type": kind, "object": content}))


def full_job() -> dict[str, Any]:
    """A Job in which every field of the projection has a value of its own."""
    condition = {"type": "Failed", "status": "True", "reason": "Why", "message": "words", "lastTransitionTime": AT}
    content: dict[str, Any] = raw.job(conditions=[condition], terminating=1)
    content["metadata"] |= {"deletionTimestamp": AT, "managedFields": MANAGED}
    content["metadata"]["annotations"]["scenewright.io/hosts"] = "tuning_runs/,more/"
    content["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "lab"
    content["spec"] |= {"suspend": True, "template": {"spec": {"containers": [{"env": [{"name": "A"}]}]}}}
    return content


def full_pods() -> list[dict[str, Any]]:
    """Pods in which together every field of the projection has a value of its own."""
    pods = [
        raw.pod(
            message="words",
            conditions=[{"type": "DisruptionTarget", "status": "True"}, *raw.POD["status"]["conditions"]],
            containerStatuses=raw.terminated(137, '{"step": "coarse"}', "OOMKilled"),
        ),
        raw.pod(
            conditions=[{"type": "PodScheduled", "status": "False", "message": "no room"}],
            containerStatuses=[],
            initContainerStatuses=[{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
        ),
    ]
    pods[0]["metadata"] |= {"deletionTimestamp": AT, "managedFields": MANAGED}
    for pod in pods:
        pod["spec"]["containers"][0]["env"] = [{"name": "A", "value": "b"}]
    return pods


def is_told(field: Field[Any], values: list[Any]) -> bool:
    return field.default is MISSING or any(getattr(value, field.name) != field.default for value in values)


def test_a_job_is_decoded_as_far_as_it_is_read() -> None:
    whole = observed_job(full_job())
    assert whole is not None
    assert [field.name for field in fields(whole) if not is_told(field, [whole])] == []
    assert observed_job(decoded(JobShape, full_job())["object"]) == whole


def test_a_pod_is_decoded_as_far_as_it_is_read() -> None:
    whole = [observed_pod(each) for each in full_pods()]
    # A Pod keeps its report as text.
    assert [field.name for field in fields(CachedPod) if not is_told(field, whole)] == ["report"]
    assert [observed_pod(decoded(PodShape, each)["object"]) for each in full_pods()] == whole


@pytest.mark.parametrize(("shape", "content"), [(JobShape, full_job()), (PodShape, full_pods()[0])])
def test_what_is_not_read_is_not_decoded(shape: Any, content: dict[str, Any]) -> None:
    found = decoded(shape, content)["object"]
    assert "managedFields" not in found["metadata"]
    assert "template" not in found["spec"]
    assert all("env" not in each for each in found["spec"].get("containers", ()))


def test_the_status_of_an_error_and_nulls_are_read_as_they_are() -> None:
    status = {"kind": "Status", "metadata": {}, "code": 410, "reason": "Expired"}
    assert decoded(PodShape, status, "ERROR")["object"] == status
    assert decoded(PodShape, {**raw.POD, "status": None})["object"]["status"] is None


def test_a_bookmark_has_a_version() -> None:
    bookmark = {"kind": "Pod", "metadata": {"resourceVersion": "50", "creationTimestamp": None}, "spec": {}}
    assert decoded(PodShape, bookmark, "BOOKMARK")["object"]["metadata"]["resourceVersion"] == "50"


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="EOF"):
        event_decoder(PodShape)(b'{"type": "ADDED", "object"')
