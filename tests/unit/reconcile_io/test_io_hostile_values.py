"""Whatever an object, its Jobs, Pods and quota say, a reconciliation ends in conditions that people can read."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import random
from typing import Any

import api_objects as raw
import pytest
from reconcile_bench import Bench

from scenewright.api.status import Status
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import ObjectKey
from scenewright.reconcile.cache.projection import observed_job, observed_pod, observed_workload, read
from scenewright.reconcile.decide.conditions import LONGEST_MESSAGE
from scenewright.reconcile.decide.decision import MAXIMUM_STATUS_BYTES

Raw = dict[str, Any]
YARD = ObjectKey("SceneJob", "lab", "yard")
SEED = 20261128
ROUNDS = 300
TEXT = "a\u0000\u001b[31m\r\nb\u202e\ufffd"
"""The API server replaces halves of characters; a report, which is text to it, may hold them."""
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5,
    float("nan"),
    "",
    "{",
    "null",
    "[1",
    '{"a": 1}',
    TEXT,
    "x" * 50_000,
    TEXT * 2_000,
    "2026-13-45",
    "yesterday",
    "a.b.c",
    [],
    [None],
    [[]],
    [{}],
    ["a", 1],
    {},
    {"": {}},
    {"a": {"b": [1]}},
    {TEXT: TEXT},
)


def sources() -> dict[str, Raw]:
    """An object that runs, with much in its status, and its Job, its Pod with a report, and its Workload."""
    scene = raw.scene(
        metadata={"uid": "object-uid", "labels": {"team": "a"}, "annotations": {"scenewright.io/retry": "3"}},
        spec={
            "execution": {"stageOverrides": {"coarse": {"resources": {"limits": {"a.b/c": "1"}}}}},
            "scheduling": {"labels": {"team": "a"}, "nodeSelector": {"pool": "a"}, "priorityClassName": "a"},
            "suspend": False,
        },
        status={
            "run": "1a2b3c4d-1",
            "starts": 1,
            "passes": 1,
            "startedAt": "2026-11-21T10:00:00Z",
            "effective": {"defaults": {"execution.maxParallelism": "4"}},
            "retryTokens": ["3"],
            "writing": {"place": "lab/lab-s3 s3://scenes/yard", "hosts": ["a"]},
            "stage": "coarse",
            "stages": [
                {
                    "name": "coarse",
                    "state": "Running",
                    "startedAt": "2026-11-21T10:00:00Z",
                    "samples": {"total": 4},
                    "indexed": {"todo": 4},
                    "shards": {"total": 1},
                    "numbers": {"loss": 0.5},
                }
            ],
            "conditions": [{"type": "Progressing", "status": "True", "reason": "Running", "message": "x"}],
            "warnings": ["a"],
            "failures": [{"sample": "a", "stage": "coarse", "reason": "b", "message": "c"}],
            "outputs": {"results": "s3://scenes/yard"},
            "publication": {"hash": "a", "chosen": {"a": "b"}},
            "inputs": [{"name": "a", "object": "SceneJob/b", "uri": "s3://a", "hash": "c"}],
            "admission": {"workload": "w-uid", "nodeSelector": {"a": "b"}},
            "spent": {"gpuSeconds": 1.0},
        },
    )
    bench = Bench()
    bench.router.take("SceneJob", "ADDED", scene)
    plan = bench.observed(YARD).work
    assert isinstance(plan, Plan)
    scene["status"]["effective"]["workHash"] = plan.work_hash
    job, pod = raw.job(), raw.pod(phase="Failed", reason="Evicted", message="m")
    job["spec"]["completions"] = 1
    job["metadata"]["labels"]["scenewright.io/work-hash"] = plan.work_hash
    report: Raw = {
        "step": "coarse",
        "run": "1a2b3c4d-1",
        "samples": 4,
        "stages": {"coarse": {"total": 4, "done": 3, "failed": 1, "gpuSeconds": 2.5}},
        "failures": [{"sample": "a", "stage": "coarse", "reason": "b", "message": "c"}],
        "warnings": ["a"],
        "outputs": {"results": "s3://a"},
        "chosen": {"a": "b@c"},
        "reason": "OutputInUse",
        "message": "m",
        "retryAt": 1.0,
    }
    workload = {
        "metadata": {**job["metadata"], "name": "w", "uid": "w-uid"},
        "status": {
            "conditions": [{"type": "QuotaReserved", "status": "False", "message": "m"}],
            "admission": {"podSetAssignments": [{"flavors": {"cpu": "a"}}]},
        },
    }
    return {"object": scene, "job": job, "pod": pod, "report": report, "workload": workload}


_SERVERS = ("uid", "name", "namespace", "resourceVersion", "creationTimestamp", "generation", "ownerReferences")
"""Fields that the API server itself writes or checks."""


def spoiled(source: Raw, chance: random.Random) -> Raw:
    """The same with one to four values replaced by odd ones, at any depth."""
    found = copy.deepcopy(source)
    for _ in range(chance.randint(1, 4)):
        node: Any = found
        while keys := [key for key in (node if isinstance(node, dict) else range(len(node))) if key not in _SERVERS]:
            key = chance.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and (node is found or chance.random() < 0.8):
                node = node[key]
                continue
            node[key] = copy.deepcopy(chance.choice(ODD))
            break
    return found


def reconciled(given: dict[str, Raw], code: int, step: str) -> Status:
    """The object's status after one reconciliation of all that; `step` is that of the Job and its report."""
    bench = Bench()
    bench.router.take("SceneJob", "ADDED", given["object"])
    message = json.dumps(given["report"]).replace("ufffd", "ud800")
    given["pod"]["status"]["containerStatuses"] = raw.terminated(code, message, "Error")
    for part, project, store in (
        ("job", observed_job, bench.jobs),
        ("pod", observed_pod, bench.pods),
        ("workload", observed_workload, bench.router.workloads),
    ):
        value: Any = read(project, given[part], part)  # type: ignore[arg-type]
        if value is not None:
            store.put(value, 1)  # type: ignore[attr-defined]
    asyncio.run(bench.reconciler._handle(YARD))
    stored = bench.objects.get(YARD)
    assert stored is not None, "an object that cannot be read gets no status"
    return stored.status


@pytest.mark.parametrize("part", ["object", "job", "pod", "report", "workload"])
def test_whatever_values_say_the_status_explains_and_the_api_server_takes_it(
    part: str, caplog: pytest.LogCaptureFixture
) -> None:
    chance, known = random.Random(f"{SEED} {part}"), sources()
    for number in range(ROUNDS if part == "object" else ROUNDS // 4):
        given = copy.deepcopy(known)
        step = chance.choice(["index", "coarse", "publish"])
        ended = {"type": chance.choice(["Complete", "Failed"]), "status": "True", "reason": "BackoffLimitExceeded"}
        given["job"]["status"]["conditions"] = [ended]
        given["job"]["metadata"]["labels"]["scenewright.io/step"] = given["report"]["step"] = step
        given[part] = spoiled(given[part], chance)
        with caplog.at_level(logging.ERROR):
            status = reconciled(given, chance.choice([0, 1, 10, 137]), step)
        wrong = caplog.records[0].exc_text or caplog.records[0].getMessage() if caplog.records else ""
        assert not wrong, f"{part} {number}: {given[part]} {wrong}"
        assert status.conditions, f"{part} {number}"
        text = status.model_dump_json(by_alias=True)
        assert len(text) <= MAXIMUM_STATUS_BYTES
        assert Status.model_validate_json(text) == status, "the schema of the CRD takes it"
        for each in status.conditions:
            assert each.message.isprintable() and len(each.message.encode()) <= LONGEST_MESSAGE
        assert status.message.isprintable() and status.reason.isprintable()
