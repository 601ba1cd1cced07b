"""`helm upgrade` from an earlier chart: what has ended stays as it is, what runs reaches its end, without a GPU."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from availability import unavailable
from pod_faults import working_pods
from portraits import write_portraits
from released_chart import released_chart
from trials import Trial

from cluster import chart, trial
from cluster.problems import Unavailable
from cluster.whole_cluster import WholeCluster

pytestmark = pytest.mark.slow

NAMESPACE = "upgraded"
STAGES = {
    "scenejob": ("outpaint", "depth", "initialize", "coarse", "render"),
    "datasetjob": ("segment", "albedo", "degrade", "recombine"),
}
SLOW = {"requests": {"cpu": "400m", "memory": "1Gi"}, "limits": {"cpu": "500m"}}
"""So that the running object still works on its first stage when the chart is upgraded."""
SMALL = {"requests": {"cpu": "1", "memory": "1Gi"}}
COUNT = 24
SWEEP_SECONDS = 30
"""The shortest time after which the operator looks at every object again."""
ENDED = {"scene": ("scenejob", "Complete"), "few": ("datasetjob", "Complete"), "nothing": ("datasetjob", "Failed")}
"""Kind of each object that ends before the upgrade, and how."""


def job(name: str, kind: str, source: str, block: dict[str, Any], resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": {"scenejob": "SceneJob", "datasetjob": "DatasetJob"}[kind],
        "metadata": {"name": name},
        "spec": {
            "input": {"uri": f"s3://{trial.PHOTOS}/{source}"},
            "output": {"uri": f"s3://{trial.SCENES}/{NAMESPACE}-{name}"},
            "storage": {"secretName": trial.SECRET},
            **block,
            "execution": {"stageOverrides": {stage: {"resources": resources} for stage in STAGES[kind]}},
        },
    }


MASKED = {"relight": {"segmentation": {"backend": "mask"}}}
TINY = {"vistadream": {"mode": "coarse", "maxResolution": 128, "coarse": {"frames": 1, "iterationsPerFrame": 20}}}


def jobs() -> dict[str, dict[str, Any]]:
    return {
        "scene": job("scene", "scenejob", f"{NAMESPACE}/one/p00000.png", TINY, SMALL),
        "few": job("few", "datasetjob", f"{NAMESPACE}/one", MASKED, SMALL),
        "nothing": job("nothing", "datasetjob", f"{NAMESPACE}/empty", MASKED, SMALL),
        "running": job("running", "datasetjob", f"{NAMESPACE}/many", MASKED, SLOW),
    }


@dataclass(frozen=True)
class Seen:
    """An object that has ended: its status, its Jobs, and its files with their contents' hashes."""

    status: dict[str, Any]
    jobs: list[str]
    files: dict[str, str]

    @classmethod
    def of(cls, found: Trial, name: str) -> Seen:
        entries = found.entries(trial.SCENES, f"{NAMESPACE}-{name}")
        uids = sorted(job["metadata"]["uid"] for job in found.listed("jobs", name))
        return cls(found.status(name), uids, {path: entry["ETag"] for path, entry in entries.items()})


@dataclass(frozen=True)
class Upgraded:
    """Two sweeps after the upgrade; `before` by name."""

    trials: dict[str, Trial]
    before: dict[str, Seen]


@pytest.fixture(scope="module")
def upgraded(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    whole, folder = cluster_with_operator, tmp_path_factory.mktemp("upgraded")
    target = whole.target
    # Objects of other tests are none of the earlier operator's.
    target.kubectl("delete", "scenejobs,datasetjobs,tuningruns", "--all", "--all-namespaces", "--timeout=120s")
    target.helm("uninstall", chart.RELEASE, "--namespace", chart.NAMESPACE, "--wait")
    trial.begin(target, whole.storage, NAMESPACE)
    for name, count in (("one", 1), ("many", COUNT)):
        write_portraits(folder / name, count, side=1024 if count > 1 else 256)
        for path in (folder / name).iterdir():
            whole.storage.client().upload_file(str(path), trial.PHOTOS, f"{NAMESPACE}/{name}/{path.name}")
    trials = {kind: Trial(target, whole.storage, NAMESPACE, kind) for kind in STAGES}
    before = _before(whole, trials, folder)
    whole.install_chart("--set", f"operator.resyncSeconds={SWEEP_SECONDS}")
    time.sleep(2.5 * SWEEP_SECONDS)
    yield Upgraded(trials, before)
    target.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


def _before(whole: WholeCluster, trials: dict[str, Trial], folder: Path) -> dict[str, Seen]:
    """With the earlier chart: some objects have ended, and one works."""
    try:
        with released_chart(folder, whole.target) as arguments:
            whole.target.helm(*arguments)
    except Unavailable as problem:
        unavailable("the earlier chart", problem)
    manifests = jobs()
    for name, (kind, condition) in ENDED.items():
        trials[kind].apply(manifests[name])
        trials[kind].wait(name, condition)
    running = trials["datasetjob"]
    running.apply(manifests["running"])
    deadline = time.monotonic() + 180.0
    while not working_pods(running, "running", STAGES["datasetjob"], seconds=3.0):
        assert time.monotonic() < deadline, running.described()
        time.sleep(0.5)
    return {name: Seen.of(trials[kind], name) for name, (kind, _) in ENDED.items()}


def contains(after: Any, before: Any) -> bool:
    """Whether all that a status said is still there; a later version may say more of it."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(name in after and contains(after[name], before[name]) for name in before)
    if isinstance(before, list):
        return len(after) == len(before) and all(map(contains, after, before))
    return bool(after == before)


@pytest.mark.parametrize("name", ENDED)
def test_what_has_ended_stays_as_it_is(upgraded: Upgraded, name: str) -> None:
    after = Seen.of(upgraded.trials[ENDED[name][0]], name)
    assert after.jobs == upgraded.before[name].jobs
    assert after.files == upgraded.before[name].files
    assert contains(after.status, upgraded.before[name].status), (after.status, upgraded.before[name].status)


def test_what_was_running_reaches_its_end(upgraded: Upgraded) -> None:
    status = upgraded.trials["datasetjob"].wait("running")
    assert status["progress"] == f"{4 * COUNT}/{4 * COUNT}"


def test_no_pod_asks_for_a_gpu(upgraded: Upgraded) -> None:
    pods = json.loads(upgraded.trials["datasetjob"].kubectl("get", "pods", "--output", "json"))["items"]
    assert len(pods) > 4
    limits = [pod["spec"]["containers"][0]["resources"].get("limits", {}) for pod in pods]
    assert not [each for each in limits if any("gpu" in name for name in each)]
