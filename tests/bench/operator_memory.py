"""Memory of the operator's caches with many objects in flight, without a cluster: JSON out, the limit asserted.

    python tests/bench/operator_memory.py --objects 2000

Each object has five Jobs and fourteen Pods as the API server sends them; all modules of the operator are loaded.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(_ROOT / "tests" / "unit" / "reconcile_io"), str(_ROOT / "tests" / "support")]

import api_objects as raw  # noqa: E402
from plugins import add_plugins  # noqa: E402
from pydantic_core import from_json, to_json  # noqa: E402

from scenewright.reconcile import main as operator_modules  # noqa: E402
from scenewright.reconcile.cache.observation import ObservedJob  # noqa: E402
from scenewright.reconcile.cache.plans import PlanningCache  # noqa: E402
from scenewright.reconcile.cache.projection import CachedPod, observed_job, observed_object, observed_pod  # noqa: E402
from scenewright.reconcile.cache.store import ObjectStore, Store  # noqa: E402
from scenewright_stages.contract.reports import Report, StageCounts  # noqa: E402

LIMIT_MEGABYTES = 160.0
STEPS = {"index": 1, "paint": 4, "shape": 4, "polish": 4, "publish": 1}


def main() -> int:
    """Fills the caches, prints the JSON, and returns 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    count = parser.parse_args().objects
    assert operator_modules
    add_plugins(gpuChain="gpu_chain_pipeline:PIPELINE")
    before, began = _megabytes(), time.process_time()
    caches = ObjectStore(), Store[ObservedJob](), Store[CachedPod](), PlanningCache()
    for number in range(count):
        _fill(number, *caches)
    result = {
        "objects": count,
        "jobs": len(caches[1]),
        "pods": len(caches[2]),
        "modules_megabytes": round(before, 1),
        "peak_megabytes": round(_megabytes(), 1),
        "cpu_milliseconds_per_object": round((time.process_time() - began) / count * 1000, 2),
        "limit_megabytes": LIMIT_MEGABYTES,
    }
    print(json.dumps(result, indent=2))
    return int(result["peak_megabytes"] > LIMIT_MEGABYTES)


def _fill(
    number: int, objects: ObjectStore, jobs: Store[ObservedJob], pods: Store[CachedPod], plans: PlanningCache
) -> None:
    name = f"scene-{number:05d}"
    conditions = [
        {
            "type": kind,
            "status": "False",
            "reason": "Some",
            "message": "some words that say why",
            "observedGeneration": 1,
        }
        for kind in ("Accepted", "Progressing", "Waiting", "Suspended", "Complete", "Failed", "Finished")
    ]
    stages = [
        {"name": step, "state": "Running", "samples": {"total": 16, "done": 4}, "shards": {"total": 4, "running": 2}}
        for step in STEPS
    ]
    spec = {"output": {"uri": f"s3://scenes/{name}"}, "gpuChain": {}, "execution": {"samplesPerShard": 4}}
    document = raw.scene(name, spec=spec, status={"conditions": conditions, "stages": stages})
    document["spec"].pop("vistadream")
    value = observed_object(from_json(to_json(document)), "SceneJob")
    objects.put(value)
    plans.plan(value)
    for step, shards in STEPS.items():
        job_name = f"s-{name}-{number:08x}-{step}"
        job = _owned(raw.job(), {"name": name, "uid": f"{name}-uid"}, step, job_name)
        found = observed_job(from_json(to_json(job)))
        assert found is not None
        jobs.put(found, 1)
        for index in range(shards):
            _put_pod(pods, {"name": job_name, "uid": found.uid}, step, f"{job_name}-{index}", index)


def _put_pod(pods: Store[CachedPod], job: dict[str, str], step: str, pod_name: str, index: int) -> None:
    counts = {step: StageCounts(total=16, done=4, seconds=12.5)}
    message = Report(step=step, run="1a2b3c4d-1", samples=4, stages=counts).to_bytes().decode()
    pod = _owned(raw.pod(phase="Succeeded", containerStatuses=raw.terminated(0, message)), job, step, pod_name)
    pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = str(index)
    found = observed_pod(from_json(to_json(pod)))
    assert found is not None
    pods.put(found, 1)


def _owned(
    content: dict[str, object], owner: dict[str, str], step: str, child: str
) -> dict[str, dict[str, dict[str, object]]]:
    document: dict[str, dict[str, dict[str, object]]] = content  # type: ignore[assignment]
    metadata = document["metadata"]
    metadata |= {"name": child, "uid": f"{child}-0000-4000-8000"}  # type: ignore[dict-item]
    metadata["labels"] |= {"scenewright.io/step": step}
    metadata["ownerReferences"][0] |= owner  # type: ignore[index]
    return document


def _megabytes() -> float:
    # Not ru_maxrss, which begins at the size of whoever started this process.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())
