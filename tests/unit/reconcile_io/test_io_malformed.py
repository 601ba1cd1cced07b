"""Whatever a Pod, a Job or an object says, no loop of the operator ends; the good ones go on."""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import api_objects as raw
import pytest
from pydantic_core import to_json
from reconcile_bench import Bench

from scenewright.kube.client import Client
from scenewright.kube.resources import JOBS, PODS
from scenewright.reconcile.cache.observation import ObjectKey
from scenewright.reconcile.cache.projection import observed_job, observed_pod
from scenewright.reconcile.watch.informer import Informer
from scenewright.reconcile.watch.sweep import Sweep
from scenewright.telemetry.metrics import REGISTRY

Raw = dict[str, Any]
SEED = 20261121
MUTANTS = 2000
YARD = ObjectKey("SceneJob", "lab", "yard")


class Server:
    """Lists what it is given once, then tells the same in a watch, and then nothing."""

    def __init__(self, jobs: list[Raw], pods: list[Raw], scenes: list[Raw], lines: tuple[bytes, ...] = ()) -> None:
        self.contents = {"jobs": jobs, "pods": pods, "scenejobs": scenes}
        self.lines = lines
        self.silent = 0

    async def pages(self, resource: Any, *_: Any, **__: Any) -> AsyncIterator[Raw]:
        yield {"metadata": {"resourceVersion": "500"}, "items": self.contents.get(resource.plural, [])}

    async def watch(self, resource: Any, *_: Any, **__: Any) -> AsyncIterator[bytes]:
        for line in self.lines:
            yield line
        for content in self.contents[resource.plural]:
            yield to_json({"type": "MODIFIED", "object": content})
        self.silent += 1
        await asyncio.Event().wait()


async def operate(bench: Bench, server: Server) -> list[asyncio.Task[None]]:
    """Runs informers, sweep and workers until all is told and worked on; the loops, which should still run."""
    client = cast(Client, server)
    bench.router.counting = True
    objects = Sweep(client, bench.router, [""], 1000.0, lambda: None)
    await objects.fill()
    informers: list[Informer[Any]] = [
        Informer(client, JOBS, bench.jobs, observed_job, "managed=true"),
        Informer(client, PODS, bench.pods, observed_pod, "managed=true"),
    ]
    loops = [asyncio.create_task(informer.run()) for informer in informers]
    while server.silent < len(informers) and not any(loop.done() for loop in loops):
        await asyncio.sleep(0.01)
    for content in server.contents["scenejobs"]:
        bench.router.take("SceneJob", "MODIFIED", content)
    loops.append(asyncio.create_task(bench.reconciler.work(16, lambda: None)))
    for _ in range(3):
        bench.router.resync(0.0)
        await asyncio.sleep(0.05)
        while bench.queue._due() and not any(loop.done() for loop in loops):
            await asyncio.sleep(0.01)
    return loops


def operated(server: Server) -> Bench:
    """The operator after it has seen all that; fails when a loop has ended."""

    async def run() -> Bench:
        bench = Bench()
        loops = await operate(bench, server)
        for loop in loops:
            assert not loop.done(), loop
            loop.cancel()
        await asyncio.wait(loops)
        return bench

    return asyncio.run(run())


def skipped(resource: str) -> float:
    return REGISTRY.get_sample_value("scenewright_malformed_total", {"resource": resource}) or 0.0


def good() -> tuple[Raw, Raw, Raw]:
    """A Job, its Pod and their object."""
    scene = raw.scene()
    scene["metadata"]["uid"] = "object-uid"
    return raw.job(), raw.pod(), scene


def labelled(**labels: str) -> Callable[[Raw], None]:
    return lambda pod: pod["metadata"]["labels"].update(labels)


def limited(**limits: str) -> Callable[[Raw], None]:
    return lambda pod: pod["spec"]["containers"][0]["resources"]["limits"].update(limits)


@pytest.mark.parametrize(
    ("change", "is_read"),
    [
        (limited(**{"nvidia.com/gpumem": "10k"}), True),
        (limited(**{"nvidia.com/gpu": "1k"}), True),
        (labelled(**{"batch.kubernetes.io/job-completion-index": "first"}), True),
        (lambda pod: pod["metadata"].update(creationTimestamp="yesterday"), False),
        (lambda pod: pod["metadata"].update(creationTimestamp="2026-11-21T10:00:00"), False),
        (lambda pod: pod["status"].update(phase=7), False),
        (lambda pod: pod.pop("metadata"), False),
    ],
    ids=["memory of a GPU", "many GPUs", "forged index", "no time", "no time zone", "number for text", "no metadata"],
)
def test_one_odd_pod_does_not_end_the_informer(change: Callable[[Raw], None], is_read: bool) -> None:
    job, pod, scene = good()
    odd = raw.pod()
    odd["metadata"] |= {"name": "odd", "uid": "odd-uid"}
    change(odd)
    before = skipped("pods")
    bench = operated(Server([job], [odd, pod], [scene]))
    known = {each.uid for each in bench.pods}
    assert known == {"pod-uid", *(["odd-uid"] if is_read else [])}
    assert (skipped("pods") > before + 1) is not is_read


def test_an_object_that_cannot_be_read_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    job, pod, scene = good()
    pod["metadata"]["uid"] = "told-once"
    pod["status"]["phase"] = 7
    with caplog.at_level(logging.WARNING):
        operated(Server([job], [pod, pod, pod], [scene]))
    told = [record.getMessage() for record in caplog.records if "told-once" in record.getMessage()]
    assert len(told) == 1
    assert "is skipped" in told[0]


@pytest.mark.parametrize(
    "line", [b'{"type": "ADDED", "object": ', b"[]", b'{"type": "MODIFIED", "object": null}', b"null"]
)
def test_a_line_of_a_watch_that_is_no_event_is_skipped(line: bytes) -> None:
    job, pod, scene = good()
    assert {each.uid for each in operated(Server([job], [pod], [scene], (line,))).pods} == {"pod-uid"}


def test_a_pod_that_becomes_malformed_is_forgotten() -> None:
    job, pod, scene = good()
    forged = copy.deepcopy(pod)
    forged["status"]["phase"] = 7
    assert len(operated(Server([job], [pod], [scene])).pods) == 1
    assert len(operated(Server([job], [pod, forged], [scene])).pods) == 0


ODD: list[Any] = [
    None,
    -1,
    10**30,
    2.5,
    True,
    "",
    "1k",
    "10k",
    "0.5",
    "5-",
    "9-3",
    "x" * 300,
    "2026-11-21T10:00:00",
    "2026-13-45T99:00:00Z",
    "\ud7ff\u0000",
    "../..",
    [],
    [None],
    {},
    {"a": {"b": [1]}},
]


def mutated(source: Raw, chance: random.Random, number: int) -> Raw:
    """The object with one to four places of its tree replaced, taken away or added."""
    found = copy.deepcopy(source)
    found["metadata"] |= {"name": f"mutant-{number}", "uid": f"mutant-{number}"}
    for _ in range(chance.randint(1, 4)):
        node: Any = found
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.8:
                node = node[key]
                continue
            odd = copy.deepcopy(chance.choice(ODD))
            match chance.randrange(3):
                case 0:
                    node[key] = odd
                case 1:
                    del node[key]
                case _ if isinstance(node, dict):
                    node[chance.choice(["labels", "status", "uid", "nvidia.com/gpu", "x"])] = odd
            break
    return found


def full_sources() -> tuple[Raw, Raw, Raw]:
    """A Job, a Pod and an object in which much is said."""
    ended = {"type": "Failed", "status": "True", "reason": "Why", "lastTransitionTime": "2026-11-21T11:00:00Z"}
    job = raw.job(conditions=[ended])
    pod = raw.pod(
        phase="Failed",
        reason="Evicted",
        conditions=[{"type": "DisruptionTarget", "status": "True"}, *raw.POD["status"]["conditions"]],
        containerStatuses=raw.terminated(137, '{"step": "coarse"}', "OOMKilled"),
        initContainerStatuses=[{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "none"}}}],
    )
    pod["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z"
    stage = {"name": "coarse", "state": "Running", "samples": {"total": 4}, "shards": {"total": 1}}
    scene = raw.scene(
        spec={
            "execution": {"retryToken": "3", "stageOverrides": {"coarse": {"resources": {"limits": {"a/b": "1"}}}}},
            "scheduling": {"labels": {"team": "a"}, "nodeSelector": {"pool": "a"}},
            "suspend": False,
            "ttlSecondsAfterFinished": 10,
        },
        status={
            "run": "1a2b3c4d-1",
            "effective": {"workHash": "00ff00ff00ff00ff"},
            "retryTokens": ["3"],
            "stages": [stage],
            "conditions": [{"type": "Waiting", "status": "True", "reason": "OutputBusy"}],
        },
    )
    return job, pod, scene


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_none_of_2000_mutants_ends_a_loop_and_valid_objects_continue() -> None:
    chance = random.Random(SEED)
    sources = full_sources()
    mutants: tuple[list[Raw], list[Raw], list[Raw]] = ([], [], [])
    for number in range(MUTANTS):
        mutants[number % 3].append(mutated(sources[number % 3], chance, number))
    for kind, content in zip(mutants, good(), strict=True):
        kind.insert(len(kind) // 2, content)
    mutants[2].append(raw.scene("calm", spec={"output": {"uri": "s3://scenes/calm"}}))
    before = {resource: skipped(resource) for resource in ("jobs", "pods", "scenejobs")}
    bench = operated(Server(*mutants))
    for resource, count in before.items():
        assert skipped(resource) - count >= 50, resource
    observed = bench.observed(YARD)
    assert [job.uid for job in observed.jobs if job.uid == "job-uid"] == ["job-uid"]
    assert [pod.uid for pod in observed.pods if pod.uid == "pod-uid"] == ["pod-uid"]
    assert "calm" in bench.notes.created
    assert bench.phase(ObjectKey("SceneJob", "lab", "calm")) == "Indexing"
