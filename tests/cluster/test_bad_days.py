"""What a cluster's owner does to a running operator: CRDs made again, policies that deny, Jobs that claim too much."""

from __future__ import annotations

from typing import Any

import operator_process as op
import pytest
from operator_fixtures import Bench, bench, seconds_for, serving

from scenewright.api.crds import crd

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow

DATASETJOBS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/datasetjobs.scenewright.io"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def waiting(bench: Bench) -> set[str]:
    """Reasons for which objects wait."""
    found: set[str] = set()
    for each in op.objects(bench.cluster, bench.namespace).values():
        for condition in each.get("status", {}).get("conditions", []):
            if (condition["type"], condition["status"]) == ("Waiting", "True"):
                found.add(condition["reason"])
    return found


def test_a_crd_that_is_deleted_and_made_again_does_not_end_the_process(bench: Bench) -> None:
    operator = bench.operator().start().wait_ready()
    process = operator.process
    bench.cluster.api.delete(DATASETJOBS)
    op.eventually(lambda: "kopf has failed" in operator.log.read_text(), 90, "kopf misses its kind")
    bench.cluster.api.apply(DATASETJOBS, crd("DatasetJob", built_in=True))
    operator.wait_ready(120)
    assert operator.process is process and operator.running
    names = bench.begin(2)
    bench.check_all_complete(bench.wait_ended(seconds_for(2)), names)


def denying(namespace: str) -> dict[str, dict[str, Any]]:
    """A policy that denies Jobs of one namespace, and its binding."""
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    meta = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": f"deny-{namespace}"}}
    policy = {
        "matchConstraints": {**selector, "resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "label team is missing"}],
    }
    binding = {"policyName": f"deny-{namespace}", "validationActions": ["Deny"]}
    return {
        f"{ADMISSION}/validatingadmissionpolicies/deny-{namespace}": {
            **meta, "kind": "ValidatingAdmissionPolicy", "spec": policy
        },
        f"{ADMISSION}/validatingadmissionpolicybindings/deny-{namespace}": {
            **meta, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding
        },
    }  # fmt: skip


def test_a_policy_that_denies_jobs_is_waited_for(bench: Bench) -> None:
    """The API server answers with 422, as it does for a malformed Job."""
    manifests = denying(bench.namespace)
    for path, manifest in manifests.items():
        bench.cluster.api.apply(path, manifest)
    try:
        bench.operator().start().wait_ready()
        names = bench.begin(2)
        op.eventually(lambda: waiting(bench) == {"PodsRefused"}, 90, "the policy denies")
    finally:
        for path in reversed(manifests):
            bench.cluster.api.delete(path)
    bench.check_all_complete(bench.wait_ended(120), names)


def test_a_job_of_a_tenant_that_names_other_outputs_holds_nobody_off(bench: Bench) -> None:
    everything = {"scenewright.io/output": "s3://", "scenewright.io/hosts": "", "scenewright.io/gpus": "9"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "claims-everything",
            "labels": {"scenewright.io/managed": "true", "scenewright.io/step": "index"},
            "annotations": everything,
            "finalizers": ["foreign.example/guard"],
            "ownerReferences": [
                {
                    "apiVersion": "scenewright.io/v1alpha1",
                    "kind": "SceneJob",
                    "name": "nobody",
                    "uid": "11111111-2222-3333-4444-555555555555",
                    "controller": True,
                }
            ],
        },
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}},
        },
    }
    bench.cluster.api.create(op.JOBS.format(bench.namespace), job)
    bench.operator().start().wait_ready()
    names = bench.begin(2, output=lambda number: f"s3://scenes/{bench.namespace}/{number}")
    bench.check_all_complete(bench.wait_ended(seconds_for(2)), names)
    path = f"{op.JOBS.format(bench.namespace)}/claims-everything"
    bench.cluster.api.merge(path, {"metadata": {"finalizers": None}})
