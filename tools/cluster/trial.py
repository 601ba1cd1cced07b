"""Prepares a new cluster for a trial: a namespace with storage credentials, a photograph in S3, a manifest."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import yaml

from .chart import ROOT, Target
from .storage import StorageServer

NAMESPACE = "trial"
SECRET = "lab-s3"
PHOTOS = "photos"
SCENES = "scenes"
SMALL = {"requests": {"cpu": "1500m"}}
"""For a machine with two CPUs, part of which the operator requests."""
EXAMPLE = ROOT / "examples" / "scenejob-vistadream.yaml"


def prepare(target: Target, server: StorageServer, folder: Path) -> Path:
    """Creates everything; returns the path of the manifest to apply."""
    begin(target, server)
    _upload_photograph(server)
    manifest = folder / "scenejob.yaml"
    manifest.write_text(yaml.safe_dump(trial_job(), sort_keys=False))
    return manifest


def begin(target: Target, server: StorageServer, namespace: str = NAMESPACE) -> None:
    """Creates the missing buckets, and a namespace with credentials for them."""
    client = server.client()
    present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in sorted({PHOTOS, SCENES} - present):
        client.create_bucket(Bucket=bucket)
    target.kubectl("apply", "--server-side", "-f", "-", manifest=namespace_manifests(server, namespace))


def trial_job() -> dict[str, Any]:
    """The project's first example, with input and output in S3 and small stages that fit next to the operator."""
    job: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    job["metadata"]["namespace"] = NAMESPACE
    name = Path(job["spec"]["input"]["uri"]).name
    job["spec"] |= {
        "input": {"uri": f"s3://{PHOTOS}/{name}"},
        "output": {"uri": f"s3://{SCENES}/{job['metadata']['name']}"},
        "storage": {"secretName": SECRET},
        "execution": {"stageOverrides": {stage: {"resources": SMALL} for stage in _stages()}},
    }
    return job


def _stages() -> list[str]:
    from scenewright.cli.manifests import Changes, load_plans  # the project itself, which may not be installed

    (plan,) = load_plans([EXAMPLE], Changes())
    return [stage.name for stage in plan.chain]


def namespace_manifests(server: StorageServer, namespace: str = NAMESPACE) -> str:
    """A namespace with the restricted Pod Security Standard, and a Secret with the S3 credentials."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    data = {name: base64.b64encode(value.encode()).decode() for name, value in server.environment().items()}
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "type": "Opaque",
            "data": data,
        },
    ]
    return "\n---\n".join(json.dumps(document) for document in documents)


def _upload_photograph(server: StorageServer) -> None:
    job = yaml.safe_load(EXAMPLE.read_text())
    photograph = EXAMPLE.parent / job["spec"]["input"]["uri"]
    server.client().upload_file(str(photograph), PHOTOS, photograph.name)
