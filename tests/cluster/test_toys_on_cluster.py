"""The toys of other packages on a real control plane: the operator plans them, their Pods run real workers.

A training run waits for its data set, the data set for a person, and a killed container continues from its state.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import operator_process as op
import pytest
import yaml
from agreement import assert_status_agrees
from operator_fixtures import Bench, bench, serving
from pod_runner import REAL, PodRunner
from s3_fixtures import s3_bucket, s3_server
from toy_packages import (
    COMMAND,
    COVERS,
    SAMPLES_FAILED,
    ToyJobs,
    installed_packages,
    scenewright,
    tree,
    with_packages,
)

from cluster import ControlPlane
from cluster.api import ApiError
from scenewright_stages.contract import layout

__all__ = ["bench", "s3_bucket", "s3_server", "serving"]
pytestmark = pytest.mark.slow

PLURALS = {"DatasetJob": "datasetjobs", "TuningRun": "tuningruns"}
OBJECTS = "/apis/scenewright.io/v1alpha1/namespaces/{}/{}"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATIENCE = 400.0


@pytest.fixture
def packages(
    serving: ControlPlane, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """An environment with both packages and the keys of S3; the API server accepts the blocks of the packages."""
    environment = with_packages(installed_packages())
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    command = [*COMMAND, "crds", "--installed", "--output", str(tmp_path / "crds")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    for file in sorted((tmp_path / "crds").iterdir()):
        definition = yaml.safe_load(file.read_text())
        serving.api.apply(f"{CRDS}/{definition['metadata']['name']}", definition)
    op.eventually(lambda: accepted(serving), 30, "the API server knows the blocks")
    yield environment
    op.install(serving)


def accepted(cluster: ControlPlane) -> bool:
    """Whether the API server keeps the toys' blocks: until it has loaded new definitions it drops them."""
    try:
        for document in ToyJobs(Path(), "s3://toys").documents():
            path = OBJECTS.format("default", PLURALS[document["kind"]])
            kept = cluster.api.create(path, document, dry_run=True)
            assert document["spec"].keys() <= kept["spec"].keys()
    except (ApiError, AssertionError):
        return False
    return True


@pytest.fixture
def jobs(tmp_path: Path, s3_bucket: str) -> ToyJobs:
    """The toys in a bucket."""
    made = ToyJobs(tmp_path, f"s3://{s3_bucket}/toys", lettering={"seconds": 0.3})
    made.write_input()
    return made


@pytest.fixture
def pods(bench: Bench, packages: dict[str, str], tmp_path: Path) -> Iterator[PodRunner]:
    """Runs the Pods of the bench's namespace."""
    bench.cluster.simulate(bench.namespace, REAL)
    with PodRunner(bench.cluster, bench.namespace, tmp_path / "pods", packages) as runner:
        yield runner


def test_a_training_run_waits_for_its_data_set_and_that_for_a_person(
    bench: Bench, packages: dict[str, str], pods: PodRunner, jobs: ToyJobs, tmp_path: Path
) -> None:
    bench.operator().start().wait_ready()
    cards, letters = jobs.documents()
    for document in (letters, cards):
        document["spec"]["storage"] = {"secretName": "lab-s3"}
        create(bench, document)
    wait(bench, pods, cards, lambda status: reason(status, "Waiting") == "AwaitingSelection")
    assert phase(read(bench, letters)) == "Waiting"
    assert not [job for job in bench.jobs() if job["metadata"]["labels"]["scenewright.io/object"] == "letters"]

    jobs.answer()
    jobs.output.delete(["answers/sea.json"])
    pick = [*COMMAND, "pick", "datasetjob/cards", "sea", COVERS["sea"], "-n", bench.namespace]
    variables = {**packages, "KUBECONFIG": str(bench.cluster.kubeconfig)}
    picked = subprocess.run(pick, env=variables, capture_output=True, text=True, check=False)
    assert picked.returncode == 0, picked.stdout + picked.stderr
    wait(bench, pods, cards, lambda status: status.get("phase") == "Complete")

    op.eventually(lambda: has_saved(jobs), PATIENCE, "the training has saved its state", 0.05)
    (training,) = [each for each in list(pods.running.values()) if each.step == "fit"]
    os.kill(training.process.pid, signal.SIGKILL)
    wait(bench, pods, letters, lambda status: status.get("phase") == "Complete")
    assert [code for step, code in pods.ended if step == "fit"] == [-signal.SIGKILL, 0]
    assert "continues from the state saved at step" in pods.log()
    assert tree(jobs.output) == tree_of_a_local_run(tmp_path)
    for document, prefix in ((cards, ""), (letters, "tuning_runs/letters/")):
        summary = json.loads(jobs.output.get_bytes(f"{prefix}{layout.SUMMARY}"))
        assert_status_agrees(read(bench, document), summary)


def has_saved(jobs: ToyJobs) -> bool:
    """Whether a state is complete: its files come before the one that names them."""
    states = jobs.output.list(f"tuning_runs/letters/{layout.STATE}/")
    return any(each.key.endswith("/latest.json") for each in states)


def tree_of_a_local_run(folder: Path) -> dict[str, bytes]:
    """What `scenewright run` makes of the same objects where the choices are known before."""
    (folder / "local").mkdir()
    jobs = ToyJobs(folder / "local", str(folder / "local"))
    jobs.write_input()
    jobs.answer()
    done = scenewright("run", *jobs.manifests())
    assert done.returncode == SAMPLES_FAILED, done.stdout + done.stderr
    return tree(jobs.output)


def create(bench: Bench, document: dict[str, Any]) -> None:
    path = OBJECTS.format(bench.namespace, PLURALS[document["kind"]])
    bench.cluster.api.create(path, document)


def read(bench: Bench, document: dict[str, Any]) -> dict[str, Any]:
    """The status of an object."""
    path = OBJECTS.format(bench.namespace, PLURALS[document["kind"]])
    status: dict[str, Any] = bench.cluster.api.get(f"{path}/{document['metadata']['name']}").get("status", {})
    return status


def phase(status: dict[str, Any]) -> str:
    return str(status.get("phase", ""))


def reason(status: dict[str, Any], kind: str) -> str:
    """Of a condition that is true."""
    found = [each for each in status.get("conditions", []) if each["type"] == kind and each["status"] == "True"]
    return str(found[0]["reason"]) if found else ""


def wait(bench: Bench, pods: PodRunner, document: dict[str, Any], holds: Callable[[dict[str, Any]], bool]) -> None:
    """Returns when the status of an object is as wanted; else says what was last seen."""

    def failed() -> bool:
        return phase(read(bench, document)) == "Failed"

    try:
        op.eventually(lambda: holds(read(bench, document)) or failed(), PATIENCE, document["metadata"]["name"])
        assert holds(read(bench, document))
    except AssertionError:
        status = json.dumps(read(bench, document), indent=1)
        raise AssertionError(f"{status}\n{pods.ended}\n{pods.log()[-3000:]}\n{bench.explain()}") from None
