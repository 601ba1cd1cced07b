"""A data set of thousands of images through a real one-node cluster, whose Pods and operator are taken away meanwhile.

    python tests/bench/relight_cluster.py --count 12000 --interruptions 10 --output cluster.json

Generates the portraits of relight_scale.py, one in a hundred damaged in some way; applies a DatasetJob to the whole
cluster (a running one, or one of its own); interrupts it at random moments; and compares what lies in S3 with what the
command made of the same portraits. Exits with 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "e2e"), str(HERE.parents[1] / "tools")]

from benchmarks import show  # noqa: E402
from pod_faults import delete_pod, evict_pod, kill_the_operator, kill_worker, working_pods  # noqa: E402
from portraits import write_portraits  # noqa: E402
from relight_jobs import STAGES, write_job  # noqa: E402
from relight_scale import BAD_SHARE, BLOCK, DROPPED, dropped_samples, tell  # noqa: E402
from scene_jobs import COMMAND, published  # noqa: E402
from trials import Trial  # noqa: E402
from worker_watch import SCRATCH_LIMIT, Watch, worker_processes  # noqa: E402

from cluster import chart, trial, whole_cluster  # noqa: E402
from scenewright_stages.contract import layout  # noqa: E402

NAME, NAMESPACE = "portraits", "scale"
REQUESTS = {"requests": {"cpu": "600m", "memory": "1Gi"}}
"""Two Pods fit beside the operator on two processors."""
PODS = 2
PROGRESS_FILE = "/scratch/progress.json"
SCRATCHES = "node/kubelet/pods/*/volumes/kubernetes.io~empty-dir/scratch"
LOOK_SECONDS = 0.5
STATUS_SECONDS = 5.0
TELL_SECONDS = 30.0
PATIENCE_SECONDS = 4 * 3600.0
TRANSFERS = 8
ENDED = ("Complete", "Failed")
FAULTS: tuple[Callable[[Trial, str], bool], ...] = (delete_pod, evict_pod, kill_worker, kill_the_operator)


@dataclass
class Interruptions:
    """What is done to a job, and when.

    Attributes:
        due: share of the work that is done when it happens, and the fault, in this order.
        happened: what has been done: fault, Pod, seconds since the start, share.
    """

    due: list[tuple[float, Callable[[Trial, str], bool]]]
    happened: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def drawn(cls, count: int, seed: int) -> Interruptions:
        """At random moments of the run; each kind as often as another, or once more."""
        draws = random.Random(seed)
        moments = sorted(draws.uniform(0.02, 0.97) for _ in range(count))
        kinds = [FAULTS[number % len(FAULTS)] for number in range(count)]
        draws.shuffle(kinds)
        return cls(list(zip(moments, kinds, strict=True)))

    def meet(self, job: Trial, share: float, seconds: float) -> None:
        """Does the next one if it is due and a Pod works that it can hit."""
        if not self.due or share < self.due[0][0]:
            return
        pods = working_pods(job, NAME, STAGES)
        fault = self.due[0][1]
        if pods and fault(job, pods[len(self.happened) % len(pods)]):
            self.due.pop(0)
            self.happened.append({"fault": fault.__name__, "at": round(seconds, 1), "share": round(share, 3)})
            tell(f"{seconds:6.0f} s  {fault.__name__} at {share:.1%}")


@contextlib.contextmanager
def cluster_with_operator() -> Iterator[Trial]:
    """A namespace of the cluster that runs, or else of one that ends with this; the operator is of this checkout."""
    values = ("--set-string", f"stages.environment.SCENEWRIGHT_PROGRESS_FILE={PROGRESS_FILE}")
    with contextlib.ExitStack() as stack:
        if whole_cluster.is_ready(whole_cluster.FOLDER):
            target, storage = whole_cluster.target(whole_cluster.FOLDER), whole_cluster.storage_server()
        else:
            cluster = stack.enter_context(whole_cluster.running(report=tell))
            target, storage = cluster.target, cluster.storage
        chart.install(target, values=values, report=tell)
        trial.begin(target, storage, NAMESPACE)
        yield Trial(target, storage, NAMESPACE, "datasetjob")


def portraits_in(folder: Path, count: int, side: int) -> dict[str, str]:
    """Portraits, written unless they are there; the reason of each that is planted as bad."""
    told = folder.with_suffix(".json")
    asked = {"count": count, "side": side}
    if told.exists() and (known := json.loads(told.read_text()))["asked"] == asked:
        return dict(known["expected"])
    expected = write_portraits(folder, count, side, BAD_SHARE, soft=True)
    told.write_text(json.dumps({"asked": asked, "expected": expected}))
    return expected


def prepare(job: Trial, folder: Path) -> None:
    """Removes what an earlier run has left on a cluster that runs, and brings the portraits there."""
    job.kubectl("delete", job.kind, NAME, "--ignore-not-found", "--cascade=foreground")
    client, there = job.storage.client(), etags(job, trial.PHOTOS)
    paths = {path.name: path for path in folder.iterdir()}
    superfluous = [(trial.PHOTOS, name) for name in there.keys() - paths.keys()]
    superfluous += [(trial.SCENES, name) for name in etags(job, trial.SCENES)]
    wanted = [name for name, path in sorted(paths.items()) if there.get(name) != _md5(path)]

    def remove(place: tuple[str, str]) -> None:
        client.delete_object(Bucket=place[0], Key=f"{NAME}/{place[1]}")

    def bring(name: str) -> None:
        client.upload_file(str(paths[name]), trial.PHOTOS, f"{NAME}/{name}")

    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(remove, superfluous))
        list(threads.map(bring, wanted))


def job_manifest(samples_per_shard: int) -> dict[str, Any]:
    """The job of relight_scale.py, on the cluster."""
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "DatasetJob",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "input": {"uri": f"s3://{trial.PHOTOS}/{NAME}"},
            "output": {"uri": f"s3://{trial.SCENES}/{NAME}"},
            "storage": {"secretName": trial.SECRET},
            "relight": BLOCK,
            "execution": {
                "samplesPerShard": samples_per_shard,
                "maxParallelism": PODS,
                "stageOverrides": {stage: {"resources": REQUESTS} for stage in STAGES},
            },
        },
    }


def run_interrupted(job: Trial, interruptions: Interruptions) -> Watch:
    """Watches the job, and takes things away from it, until it has ended."""
    watch, started = Watch(), time.monotonic()
    looked_at = told_at = 0.0
    while (now := time.monotonic() - started) < PATIENCE_SECONDS:
        watch.look(worker_processes(), whole_cluster.FOLDER.glob(SCRATCHES))
        if now - looked_at >= STATUS_SECONDS:
            looked_at = now
            status = job.status(NAME)
            if status.get("phase") in ENDED:
                break
            interruptions.meet(job, done_share(status), now)
        if now - told_at >= TELL_SECONDS:
            told_at = now
            tell(f"{now:6.0f} s  {job.kubectl('get', job.kind, NAME, '--no-headers').strip()}")
        time.sleep(LOOK_SECONDS)
    watch.seconds = time.monotonic() - started
    return watch


def done_share(status: Mapping[str, Any]) -> float:
    """Of ``done/total``, which is there once the input is known."""
    done, _, total = status.get("progress", "").partition("/")
    return int(done) / int(total) if total.isdigit() and int(total) else 0.0


def local_tree(folder: Path) -> Path:
    """The output of the command for the same portraits."""
    manifest = write_job(folder / "local.json", folder / "in", folder / "local", BLOCK)
    ended = subprocess.run([*COMMAND, "run", str(manifest)], stdout=subprocess.DEVNULL, check=False)
    if ended.returncode not in (0, 1):
        raise SystemExit("the local run failed")
    return folder / "local"


def differences(job: Trial, local: Path) -> list[str]:
    """Published paths, but for files that hold times, that are only on one side or whose bytes or hashes differ."""
    here = _lasting(published(local))
    there, stored = _lasting(json.loads(_read(job, layout.PUBLISHED))["files"]), etags(job, trial.SCENES)
    found = {path for path in here.keys() | there.keys() if here.get(path) != there.get(path)}
    for path in here.keys() - found:
        tag = stored.get(path, "")
        # The tag of what came in parts is no hash of its bytes.
        same = _read(job, path) == (local / path).read_bytes() if "-" in tag else tag == _md5(local / path)
        if not same:
            found.add(path)
    return sorted(found)


def etags(job: Trial, bucket: str) -> dict[str, str]:
    """MD5 of every object below the job's prefix in a bucket, as the server took it down, by path."""
    return {path: entry["ETag"].strip('"') for path, entry in job.entries(bucket, NAME).items()}


def pod_times(pods: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By step: Pods that are left, median seconds until the container started, and of the container in all."""
    starts: dict[str, list[float]] = {}
    runs: dict[str, list[float]] = {}
    for pod in pods:
        step = pod["metadata"]["labels"]["scenewright.io/step"]
        for container in pod["status"].get("containerStatuses", []):
            if ended := container["state"].get("terminated"):
                began = _time(ended["startedAt"])
                starts.setdefault(step, []).append(began - _time(pod["metadata"]["creationTimestamp"]))
                runs.setdefault(step, []).append(_time(ended["finishedAt"]) - began)
    return {
        step: {"pods": len(runs[step]), "start_seconds": median(starts[step]), "container_seconds": sum(runs[step])}
        for step in runs
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The run, compared; every limit with whether it is kept."""
    expected = portraits_in(folder / "in", options.count, options.side)
    local = options.local or local_tree(folder)
    interruptions = Interruptions.drawn(options.interruptions, options.seed)
    with cluster_with_operator() as job:
        prepare(job, folder / "in")
        tell(f"{options.count} images are there")
        job.apply(job_manifest(options.samples_per_shard))
        watch = run_interrupted(job, interruptions)
        status, pods = job.status(NAME), job.pods(NAME)
        tell(json.dumps(status))
        complete = status["phase"] == "Complete"
        dropped = dropped_samples(_read(job, DROPPED).decode()) if complete else {}
        different = differences(job, local) if complete else ["nothing was published"]
    return {
        "images": options.count,
        "side": options.side,
        "samples_per_shard": options.samples_per_shard,
        "pods_at_once": PODS,
        "images_per_second": round(options.count / watch.seconds, 2),
        **watch.readings(),
        "stages": {stage["name"]: _told(stage) for stage in status["stages"]},
        "pods": pod_times(pods),
        "processes": {step: len(processes) for step, processes in watch.memory.items()},
        "phase": status["phase"],
        "progress": status["progress"],
        "interruptions": interruptions.happened,
        "by_kind": Counter(each["fault"] for each in interruptions.happened),
        "compared": len(_lasting(published(local))),
        "different": different[:20],
        "limits": {
            "the job is Complete": complete,
            "all interruptions happened": not interruptions.due,
            "memory is flat": watch.is_flat(STAGES),
            "scratch is bounded": 0 < watch.scratch <= SCRATCH_LIMIT,
            "every bad file has its reason, all others are there": dropped == expected,
            "the tree of the local run": not different,
        },
    }


def _told(stage: Mapping[str, Any]) -> dict[str, Any]:
    times = [_time(stage[name]) for name in ("startedAt", "finishedAt") if name in stage]
    return {"seconds": times[-1] - times[0] if times else 0.0, "shards": stage["shards"], "samples": stage["samples"]}


def _lasting(files: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {path: entry for path, entry in files.items() if not entry.get("volatile")}


def _read(job: Trial, path: str) -> bytes:
    return bytes(job.storage.client().get_object(Bucket=trial.SCENES, Key=f"{NAME}/{path}")["Body"].read())


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> int:
    """Measures, prints and writes; the exit code says whether all limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=12000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--interruptions", type=int, default=10)
    parser.add_argument("--samples-per-shard", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=5, help="of the moments of the interruptions")
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one when it is not given")
    parser.add_argument("--local", type=Path, help="what the command has made of the same portraits already")
    parser.add_argument("--output", type=Path, help="JSON file for the readings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relight-cluster-") as temporary:
        found = measure(options, options.folder or Path(temporary))
    show(found, options.output)
    return 0 if all(found["limits"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
