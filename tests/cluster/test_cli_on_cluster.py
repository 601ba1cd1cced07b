"""The commands on a real API server and a real S3 server, as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from s3_fixtures import s3_bucket, s3_server

from cluster import ControlPlane
from scenewright.api.names import PLURALS

__all__ = ["s3_bucket", "s3_server"]


POD_A, POD_B = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-000000000000"
RUN = "ab12cd34-1"


class Lab:
    """A namespace with our kinds, and the commands in it."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def collection(self, kind: str = "SceneJob") -> str:
        return f"/apis/scenewright.io/v1alpha1/namespaces/{self.namespace}/{PLURALS[kind]}"

    def create(self, name: str, output: str = "s3://scenes/out", **spec: Any) -> None:
        self.cluster.api.create(
            self.collection(),
            {
                "apiVersion": "scenewright.io/v1alpha1",
                "kind": "SceneJob",
                "metadata": {"name": name},
                "spec": {"input": {"uri": "s3://photos/in"}, "output": {"uri": output}, "vistadream": {}, **spec},
            },
        )

    def write_status(self, name: str, **status: Any) -> None:
        self.cluster.api.merge(f"{self.collection()}/{name}/status", {"status": {"observedGeneration": 1, **status}})

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "scenewright.cli.main", *arguments],
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, "-n", self.namespace, **environment)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors


@pytest.fixture
def lab(released_plane: ControlPlane) -> Lab:
    return Lab(released_plane, released_plane.create_namespace(f"test-{uuid.uuid4().hex[:8]}"))


def test_status_of_one_and_of_all(lab: Lab) -> None:
    lab.create("courtyard")
    lab.write_status("courtyard", phase="Running", progress="3/9", stage="coarse", pipeline="vistadream")
    code, output, _ = lab.run("status", "scenejob/courtyard")
    assert (code, output.splitlines()[0]) == (0, f"SceneJob {lab.namespace}/courtyard: Running, 3/9 done")
    code, output, _ = lab.run("status")
    assert code == 0
    assert output.splitlines()[1].split()[:5] == ["scenejob/courtyard", "vistadream", "Running", "coarse", "3/9"]


def test_status_for_programs(lab: Lab) -> None:
    lab.create("courtyard")
    lab.write_status("courtyard", phase="Failed")
    code, output, _ = lab.run("status", "scene/courtyard", "-o", "json")
    assert code == 1
    assert (json.loads(output)["name"], json.loads(output)["status"]["phase"]) == ("courtyard", "Failed")
    _, output, _ = lab.run("status", "-o", "json")
    assert [each["name"] for each in json.loads(output)["objects"]] == ["courtyard"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "scenejob/nobody"], "scenejob/nobody: 'NAMESPACE': not found in this namespace"),
        (["status", "scenejbo/a"], "no such kind: did you mean 'scenejob'?"),
        (["status", "scenejob/a", "--context", "moon"], "no context 'moon'"),
        (["retry", "scenejob/nobody"], "not found in this namespace"),
        (["retry", "scenejob/a", "--set", "coarse.frames=5"], "edit it there"),
        (["logs", "scenejob/nobody"], "not found in this namespace"),
    ],
)
def test_mistakes_are_reported_in_one_line(lab: Lab, arguments: list[str], message: str) -> None:
    code, output, errors = lab.run(*arguments)
    assert code in (2, 10)
    assert message.replace("NAMESPACE", lab.namespace) in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in errors
    assert not output


def test_an_unreachable_cluster_and_missing_rights_are_reported(lab: Lab, tmp_path: Path) -> None:
    away = yaml.safe_load(lab.cluster.kubeconfig.read_text())
    away["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(away))
    code, _, errors = lab.run("status", KUBECONFIG=str(tmp_path / "kubeconfig"))
    assert (code, "cannot be reached" in errors) == (10, True)
    nobody = lab.cluster.service_account_kubeconfig(lab.namespace, "default")
    code, _, errors = lab.run("status", KUBECONFIG=str(nobody))
    assert code == 10
    assert "403" in errors
    assert "cannot list resource" in errors


def test_retry_writes_an_annotation_and_leaves_the_spec_alone(lab: Lab) -> None:
    lab.create("courtyard")
    tokens = []
    for _ in range(2):
        code, output, _ = lab.run("retry", "scenejob/courtyard", "-o", "json")
        assert code == 0
        tokens.append(json.loads(output)["token"])
    found = lab.cluster.api.get(f"{lab.collection()}/courtyard")
    assert found["metadata"]["annotations"]["scenewright.io/retry"] == tokens[1] != tokens[0]
    assert found["metadata"]["generation"] == 1


def test_watching_continues_to_the_end_and_gives_the_exit_code(lab: Lab) -> None:
    lab.create("courtyard")
    lab.write_status("courtyard", phase="Running", progress="1/2")
    process = lab.start("status", "scenejob/courtyard", "--watch", "-n", lab.namespace)
    assert process.stdout is not None
    assert "Running, 1/2" in process.stdout.readline()
    lab.write_status("courtyard", phase="Running", progress="2/2")
    assert "Running, 2/2" in process.stdout.readline()
    lab.write_status("courtyard", phase="Failed", progress="2/2")
    assert process.wait(timeout=20) == 1
    assert "Failed, 2/2" in process.stdout.read()


def test_watching_an_object_that_is_deleted_ends(lab: Lab) -> None:
    lab.create("courtyard")
    process = lab.start("status", "scenejob/courtyard", "-w", "-o", "json", "-n", lab.namespace)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["name"] == "courtyard"
    lab.cluster.api.delete(f"{lab.collection()}/courtyard")
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, "scenejob/courtyard: was deleted\n")


def store_log(bucket: str, step: str, shard: int, pod: str, text: str) -> None:
    key = f"out/.scenewright/logs/{RUN}/{step}-{shard}-{pod}.log"
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode())


def test_logs_outlive_their_pods_and_name_their_source(lab: Lab, s3_bucket: str) -> None:
    lab.create("courtyard", output=f"s3://{s3_bucket}/out")
    lab.write_status("courtyard", phase="Complete", run=RUN)
    store_log(s3_bucket, "index", 0, POD_A, "3 samples\n")
    store_log(s3_bucket, "coarse", 12, POD_A, "one\ntwo\n")
    time.sleep(1.1)  # Times of objects are whole seconds.
    store_log(s3_bucket, "coarse", 12, POD_B, "again ✓\n")
    code, output, _ = lab.run("logs", "scenejob/courtyard")
    lines = ["coarse/12 | one", "coarse/12 | two", "index/0 | 3 samples", "coarse/12 (2) | again ✓"]
    assert (code, sorted(output.splitlines())) == (0, sorted(lines))
    assert output.splitlines()[-1] == lines[-1]
    _, output, _ = lab.run("logs", "scenejob/courtyard", "--stage", "coarse", "--shard", "12", "--tail", "1")
    assert output.splitlines() == ["coarse/12 | two", "coarse/12 (2) | again ✓"]
    _, output, _ = lab.run("logs", "scenejob/courtyard", "--stage", "index", "-o", "json")
    assert json.loads(output) == {"step": "index", "shard": 0, "pod": POD_A, "attempt": 1, "line": "3 samples"}
    code, output, errors = lab.run("logs", "scenejob/courtyard", "--stage", "render")
    assert (code, output, "no logs below" in errors) == (0, "", True)


@pytest.mark.slow
def test_logs_are_followed_to_the_end_of_the_object(lab: Lab, s3_bucket: str) -> None:
    lab.create("courtyard", output=f"s3://{s3_bucket}/out")
    lab.write_status("courtyard", phase="Running", run=RUN)
    store_log(s3_bucket, "coarse", 0, POD_A, "one\ntw")
    process = lab.start("logs", "scenejob/courtyard", "-f", "-n", lab.namespace)
    assert process.stdout is not None
    assert process.stdout.readline() == "coarse/0 | one\n"
    store_log(s3_bucket, "coarse", 0, POD_A, "one\ntwo\n")
    assert process.stdout.readline() == "coarse/0 | two\n"
    lab.write_status("courtyard", phase="Complete", run=RUN)
    # What a Pod stores a moment after the object's end is still read, an unfinished line too.
    threading.Timer(1.0, store_log, (s3_bucket, "publish", 0, POD_A, "published")).start()
    output, _ = process.communicate(timeout=40)
    assert (process.returncode, output) == (0, "publish/0 | published\n")


def test_keys_of_the_objects_secret_are_taken_only_when_asked_for(
    lab: Lab, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.create("courtyard", output=f"s3://{s3_bucket}/out", storage={"secretName": "lab-s3"})
    lab.write_status("courtyard", phase="Complete", run=RUN)
    store_log(s3_bucket, "index", 0, POD_A, "3 samples\n")
    keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lab-s3"}, "stringData": keys}
    lab.cluster.api.create(f"/api/v1/namespaces/{lab.namespace}/secrets", secret)
    for name in keys:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code, _, errors = lab.run("logs", "scenejob/courtyard")
    assert (code, "--use-secret" in errors) == (1, True)
    code, output, _ = lab.run("logs", "scenejob/courtyard", "--use-secret")
    assert (code, output) == (0, "index/0 | 3 samples\n")


def test_the_report_of_an_object_is_written_from_its_status(lab: Lab) -> None:
    lab.create("courtyard")
    lab.write_status("courtyard", phase="Complete", outputs={"report": "s3://scenes/out/report.html"})
    code, output, _ = lab.run("report", "scenejob/courtyard", "-o", "json")
    assert (code, json.loads(output)["page"]) == (0, "s3://scenes/out/report.html")


def test_kubectl_finds_the_commands_as_its_plugin(lab: Lab) -> None:
    lab.create("courtyard")
    folder = Path(sys.executable).parent
    command = [str(lab.cluster.kubectl), "scenewright", "status", "scenejob/courtyard", "-n", lab.namespace]
    environment = {**os.environ, "KUBECONFIG": str(lab.cluster.kubeconfig), "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "courtyard: Pending" in done.stdout) == (0, True), done.stderr
