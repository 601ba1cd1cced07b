"""``execution.template``: what is added to the Pods of all stages, and what cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from job_building import SETTINGS, SPEC, UID, Create, Owned, container_of, job_of, plan_of, pod_of

from scenewright.api.names import API_VERSION
from scenewright.api.template import together
from scenewright.execution.jobs import job_manifest
from scenewright.planning.lab import check_lab_defaults, in_status, to_status, with_lab_defaults
from scenewright.planning.plan import make_plan
from scenewright.planning.problems import SpecError
from scenewright.reconcile.cache.observation import ObservedObject, Refusal
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright_stages.contract.layout import STORAGE_KEYS

TEMPLATE: dict[str, Any] = {
    "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}, "labels": {"team": "vision"}},
    "caBundle": {"configMap": "lab-ca"},
    "spec": {
        "priorityClassName": "batch",
        "imagePullSecrets": [{"name": "registry"}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [
            {
                "name": "worker",
                "env": [{"name": "PROXY", "value": "http://proxy"}],
                "envFrom": [{"configMapRef": {"name": "lab"}}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
    },
}
STEPS = ("index", "outpaint", "coarse", "publish")


@pytest.mark.parametrize("step", STEPS)
def test_everything_arrives_in_the_pods_of_every_step(step: str) -> None:
    plain, job = job_of(Create(step)), job_of(Create(step), execution={"template": TEMPLATE})
    pod, worker = pod_of(job), container_of(job)
    metadata = job["spec"]["template"]["metadata"]
    assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"
    assert metadata["labels"] == {"team": "vision", **plain["spec"]["template"]["metadata"]["labels"]}
    assert pod["priorityClassName"] == "batch" and pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["topologySpreadConstraints"] == TEMPLATE["spec"]["topologySpreadConstraints"]
    assert [each["name"] for each in pod["volumes"]][-2:] == ["data", "ca-bundle"]
    assert worker["envFrom"] == [{"configMapRef": {"name": "lab"}}]
    mounts = {each["mountPath"]: each["name"] for each in worker["volumeMounts"]}
    assert mounts["/data"] == "data" and mounts["/etc/scenewright/ca"] == "ca-bundle"
    values = {each["name"]: each.get("value") for each in worker["env"]}
    assert len(values) == len(worker["env"]), "no variable is there twice"
    assert values["PROXY"] == "http://proxy" and values["SSL_CERT_FILE"] == "/etc/scenewright/ca/ca.crt"


@pytest.mark.parametrize("step", STEPS)
def test_what_is_ours_stays_as_it_is(step: str) -> None:
    plain, job = job_of(Create(step)), job_of(Create(step), execution={"template": TEMPLATE})
    for field in ("command", "image", "securityContext", "resources", "terminationMessagePath"):
        assert container_of(job)[field] == container_of(plain)[field]
    ours = {"volumes", "containers", "priorityClassName", "imagePullSecrets", "topologySpreadConstraints"}
    assert {name: value for name, value in pod_of(job).items() if name not in ours} == {
        name: value for name, value in pod_of(plain).items() if name not in ours
    }


def test_without_one_nothing_differs_and_with_one_the_work_is_the_same() -> None:
    assert job_of(Create("coarse"), execution={"template": None}) == job_of(Create("coarse"))
    assert plan_of(execution={"template": TEMPLATE}).work_hash == plan_of().work_hash


def document(template: dict[str, Any]) -> dict[str, Any]:
    spec = {**SPEC, "execution": {"template": template}}
    return {
        "apiVersion": API_VERSION,
        "kind": "SceneJob",
        "metadata": {"name": "yard", "namespace": "lab"},
        "spec": spec,
    }


def test_the_labs_template_and_the_objects_are_merged_by_names() -> None:
    own = {
        "metadata": {"annotations": {"a": "own"}},
        "spec": {"containers": [{"name": "worker", "env": [{"name": "PROXY", "value": "http://own"}]}]},
    }
    lab = {"execution": {"template": {**TEMPLATE, "metadata": {"annotations": {"a": "lab", "b": "lab"}}}}}
    check_lab_defaults(lab)
    plan = make_plan(document(own), defaults=lab)
    job = job_manifest(plan, Owned(uid=UID), Create("coarse"), SETTINGS)
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert (annotations["a"], annotations["b"]) == ("own", "lab")
    values = {each["name"]: each.get("value") for each in container_of(job)["env"]}
    assert values["PROXY"] == "http://own" and values["REQUESTS_CA_BUNDLE"].endswith("ca.crt")
    assert container_of(job)["envFrom"] == [{"configMapRef": {"name": "lab"}}]
    assert plan.work_hash == make_plan(document(own)).work_hash
    kept = in_status_of(lab)
    assert make_plan(document(own), defaults=kept).spec == plan.spec, "what the status keeps gives the same again"


def in_status_of(lab: dict[str, Any]) -> dict[str, Any]:
    from scenewright.api.status import Effective, Status

    _, taken = with_lab_defaults(document({}), lab)
    return in_status(Status(effective=Effective(defaults=to_status(taken))))


def test_merging_keeps_the_order_and_the_members_of_both() -> None:
    lab = [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]
    assert together(lab, [{"name": "b", "value": "3"}, {"name": "c"}]) == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "3"},
        {"name": "c"},
    ]
    mounts = [{"name": "x", "mountPath": "/a"}]
    assert together(mounts, [{"name": "x", "mountPath": "/b"}]) == [*mounts, {"name": "x", "mountPath": "/b"}]


def test_a_labs_template_that_no_status_can_keep_is_refused() -> None:
    annotations = {f"key-{number}": "x" * 400 for number in range(12)}
    with pytest.raises(SpecError, match=r"defaults\.execution\.template.*4096"):
        check_lab_defaults({"execution": {"template": {"metadata": {"annotations": annotations}}}})


IDENTITIES = ("AWS_PROFILE", "AWS_ROLE_ARN", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
OURS = {each["name"] for step in STEPS for each in container_of(job_of(Create(step)))["env"]} - set(STORAGE_KEYS[3:])


@pytest.mark.parametrize("name", sorted({"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HF_TOKEN", *IDENTITIES, *OURS}))
def test_variables_that_would_change_the_worker_or_who_it_is_are_refused(name: str) -> None:
    container = {"containers": [{"env": [{"name": name, "value": "x"}]}]}
    with pytest.raises(SpecError, match="cannot be set"):
        plan_of(execution={"template": {"spec": container}})


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "relative",
        "/scratch",
        "//tmp/x",
        "/a/../scratch",
        "/var/run/secrets/x",
        "/proc",
        "/usr",
        "/usr//bin",
        "/opt/./x",
    ],
)
def test_mounts_over_ours_and_the_systems_are_refused(path: str) -> None:
    container = {"containers": [{"volumeMounts": [{"name": "data", "mountPath": path}]}]}
    with pytest.raises(SpecError, match="absolute paths"):
        plan_of(execution={"template": {"spec": container}})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"volumes": [{"name": "data", "emptyDir": {}}] * 2}, "name of its own"),
        ({"containers": [{"volumeMounts": [{"name": "data", "mountPath": "/data"}] * 2}]}, "mountPath of its own"),
        ({"containers": [{"volumeMounts": [{"name": "models", "mountPath": "/data"}]}]}, "cannot be mounted again"),
        ({"containers": [{"env": [{"name": "A", "value": "b", "valueFrom": {}}]}]}, "contradicts valueFrom"),
        ({"containers": [{"name": "other"}]}, "worker"),
        ({"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}, "no such field"),
        ({"shareProcessNamespace": True}, "no such field"),
        ({"ephemeralContainers": []}, "no such field"),
        ({"initContainers": [{"name": "worker", "restartPolicy": "Always"}]}, "security"),
        ({"nodeName": "gpu-1"}, "spec.scheduling"),
    ],
)
def test_what_kubernetes_would_refuse_or_nobody_may_set_is_refused_by_the_planner(
    spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        plan_of(execution={"template": {"spec": spec}})


def test_an_addition_wins_over_the_charts_variable_and_an_objects_priority_over_the_template() -> None:
    settings = SETTINGS.model_copy(
        update={"environment": {"PROXY": "http://chart", "SSL_CERT_FILE": "/chart", "A": "b"}}
    )
    scheduling = {**SPEC.get("scheduling", {}), "priorityClassName": "own"}
    plan = plan_of(execution={"template": TEMPLATE}, scheduling=scheduling)
    job = job_manifest(plan, Owned(uid=UID), Create("coarse"), settings)
    env = container_of(job)["env"]
    values = {each["name"]: each.get("value") for each in env}
    assert (values["PROXY"], values["A"], len(env)) == ("http://proxy", "b", len(values))
    assert values["SSL_CERT_FILE"] == "/etc/scenewright/ca/ca.crt"
    assert pod_of(job)["priorityClassName"] == "own"


def test_a_mount_without_its_volume_is_refused_before_the_first_job() -> None:
    mounted = {"containers": [{"volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}
    lab = {"execution": {"template": {"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}}}
    observed = cluster_object({"template": {"spec": mounted}})
    refused = PlanningCache().plan(observed)
    assert isinstance(refused, Refusal) and "no such volume" in str(refused.problems[0])
    assert not isinstance(PlanningCache(defaults=lab).plan(observed), Refusal), "the lab's volume may be mounted"


def cluster_object(execution: dict[str, Any]) -> ObservedObject:
    created = datetime(2026, 11, 21, tzinfo=UTC)
    return ObservedObject(
        "SceneJob",
        "lab",
        "yard",
        UID,
        1,
        "1",
        created,
        spec={**SPEC, "storage": {"secretName": "s3"}, "execution": execution},
    )


@pytest.mark.parametrize(
    "key",
    [
        "container.apparmor.security.beta.kubernetes.io/worker",
        "seccomp.security.alpha.kubernetes.io/pod",
        "scenewright.io/template",
        "kueue.x-k8s.io/queue-name",
        "batch.kubernetes.io/job-name",
    ],
)
@pytest.mark.parametrize("part", ["labels", "annotations"])
def test_keys_that_decide_something_are_refused(key: str, part: str) -> None:
    with pytest.raises(SpecError, match="cannot be set"):
        plan_of(execution={"template": {"metadata": {part: {key: "x"}}}})
