"""The Job of a step, field by field, and whole ones against files that a person has read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from job_building import (
    ON_GPU,
    SETTINGS,
    TOGETHER,
    UID,
    Create,
    Owned,
    container_of,
    job_of,
    literal_environment,
    plan_of,
    pod_of,
    referenced_environment,
    stage_job_of,
    task_in,
)

from scenewright.execution.devices import thread_environment
from scenewright.execution.jobs import PodSettings, job_manifest, names
from scenewright.execution.jobs.environment import STORAGE_KEYS
from scenewright.execution.jobs.pod import UnknownImageError
from scenewright.execution.jobs.resources import gibibytes, needs_of
from scenewright.planning.backends import image_of
from scenewright.planning.plan import make_plan
from scenewright.planning.protocol import RESTARTS_WITH_STATE
from scenewright.planning.tasks import RunSettings, task_of
from scenewright_stages.backends.runtime.registry import backend, backends
from scenewright_stages.contract.backends import BackendFacts
from scenewright_stages.contract.pipeline import IMAGES, Resources, SecretKey, StageModels, StagePod

AT = "2026-11-21T11:00:00Z"
GOLDEN = Path(__file__).parent / "golden"
CPU_STEPS = ("models", "index", "publish")
STAGES = ("outpaint", "depth", "initialize", "coarse", "render")
EVERYTHING: dict[str, Any] = {
    **ON_GPU,
    "storage": {"secretName": "lab-s3"},
    "execution": {
        "maxParallelism": 8,
        "samplesPerShard": 4,
        "retries": {"perSample": 1, "perShard": 2, "passes": 1},
        "stageOverrides": {"outpaint": {"resources": {"requests": {"cpu": 6}, "limits": {"memory": "48Gi"}}}},
    },
    "scheduling": {
        "queueName": "gpu-queue",
        "priorityClassName": "batch",
        "nodeSelector": {"gpu": "h200"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "runtimeClassName": "nvidia",
        "gpuResource": "nvidia.com/mig-1g.10gb",
        "imagePullSecrets": [{"name": "registry"}],
        "labels": {"kueue.x-k8s.io/priority-class": "low", "team": "vision"},
    },
}
CASES = {
    "index": (Create("index"), {}),
    "models": (Create("models"), ON_GPU),
    "outpaint-everything": (Create("outpaint", shards=20), EVERYTHING),
    "publish-fails-fast": (Create("publish"), {"execution": {"onSampleError": "Fail"}}),
}


@pytest.mark.parametrize("case", [*CASES, "processes-state-secret-egress"])
def test_whole_jobs_are_as_reviewed(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    job = job_of(CASES[case][0], **CASES[case][1]) if case in CASES else stage_job_of("coarse", **TOGETHER)
    for entry in container_of(job)["env"]:
        if entry["name"] == "SCENEWRIGHT_TASK":
            entry["value"] = "<task>"
    job["metadata"]["annotations"][names.TEMPLATE] = "<hash>"
    assert yaml.safe_load(path.read_text()) == job, f"to accept: write it to {path}\n{yaml.safe_dump(job)}"


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(2, 20))
@settings(max_examples=30, deadline=None)
def test_completions_are_the_shards_and_parallelism_is_bounded(shards: int, parallel: int, retries: int) -> None:
    execution = {"maxParallelism": parallel, "retries": {"perShard": retries}}
    spec = job_of(Create("depth", shards=shards), execution=execution)["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", shards)
    assert spec["parallelism"] == min(shards, parallel)
    assert spec["backoffLimitPerIndex"] == retries
    assert spec["podReplacementPolicy"] == "Failed"


def test_the_failure_policy_is_in_order() -> None:
    rules = job_of(Create("depth"))["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    codes = [(rule["action"], rule["onExitCodes"]["values"]) for rule in rules[1:]]
    assert codes == [("FailJob", [10]), ("FailJob", [20]), ("FailIndex", [21])]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {"worker"}


def test_only_a_job_that_must_not_lose_a_sample_ends_at_the_first_lost_index() -> None:
    assert job_of(Create("depth"), execution={"onSampleError": "Fail"})["spec"]["maxFailedIndexes"] == 0
    assert "maxFailedIndexes" not in job_of(Create("depth"))["spec"]


def test_building_twice_gives_the_same_job() -> None:
    create = Create("outpaint", shards=3)
    assert job_of(create, **EVERYTHING) == job_of(create, **EVERYTHING)


def _relight_job(step: str, **block: Any) -> dict[str, Any]:
    document = {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "DatasetJob",
        "metadata": {"name": "portraits", "namespace": "lab"},
        "spec": {
            "input": {"uri": "s3://photos/in"},
            "output": {"uri": "s3://pairs/out"},
            "models": {"acceptLicenses": ["sam-license"]},
            "relight": block,
        },
    }
    return job_manifest(make_plan(document), Owned(kind="DatasetJob", name="portraits"), Create(step), SETTINGS)


def test_a_pod_asks_for_the_gpu_memory_that_the_facts_of_its_backend_state() -> None:
    template = _relight_job("segment", segmentation={"backend": "sam3"})["spec"]["template"]
    sam3 = backend("segment", "sam3")
    assert template["metadata"]["annotations"] == {names.GPU_MEMORY: gibibytes(sam3.gpu_memory_gib)}
    assert template["metadata"]["annotations"][names.GPU_MEMORY] == "12Gi"
    assert template["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_pod_without_a_gpu_asks_for_no_gpu_memory() -> None:
    for job in (_relight_job("segment", segmentation={"backend": "classic"}), job_of(Create("index"), **ON_GPU)):
        assert "annotations" not in job["spec"]["template"]["metadata"]
    without = {"stageOverrides": {"outpaint": {"resources": {"limits": {"nvidia.com/gpu": 0}}}}}
    job = job_of(Create("outpaint"), **ON_GPU, execution=without)
    assert "annotations" not in job["spec"]["template"]["metadata"], "the user took the GPU away"


def test_nothing_of_the_objects_metadata_reaches_its_children() -> None:
    foreign = {
        "labels": {"app.kubernetes.io/instance": "lab", "kustomize.toolkit.fluxcd.io/name": "lab"},
        "annotations": {"argocd.argoproj.io/tracking-id": "lab:scenewright.io/SceneJob:lab/courtyard"},
    }
    tracked = job_manifest(plan_of(metadata=foreign), Owned(), Create("depth"), SETTINGS)
    assert tracked == job_of(Create("depth"))
    assert set(tracked["metadata"]["annotations"]) == {names.TEMPLATE}
    assert "annotations" not in tracked["spec"]["template"]["metadata"]


def test_jobs_and_pods_carry_the_labels_that_the_informers_select_by() -> None:
    job = job_of(Create("depth", run="0badcafe-2"))
    found = job["metadata"]["labels"]
    assert found == job["spec"]["template"]["metadata"]["labels"]
    assert found[names.MANAGED] == "true" and found[names.OWNER_UID] == UID
    assert (found[names.STEP], found[names.RUN]) == ("depth", "0badcafe-2")
    assert found[names.WORK_HASH] == plan_of().work_hash


def test_the_users_labels_cannot_change_ours() -> None:
    added = {names.MANAGED: "false", "batch.kubernetes.io/job-name": "x", "team": "vision"}
    found = job_of(Create("depth"), scheduling={"labels": added})["metadata"]["labels"]
    assert found[names.MANAGED] == "true" and found["team"] == "vision" and "batch.kubernetes.io/job-name" not in found


def test_the_owner_reference_stops_everything_when_the_object_goes() -> None:
    (reference,) = job_of(Create("depth"))["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "name": "courtyard",
        "uid": UID,
        "controller": True,
        "blockOwnerDeletion": True,
    }


@pytest.mark.parametrize("step", [*CPU_STEPS, *STAGES])
def test_every_pod_meets_the_restricted_standard(step: str) -> None:
    job = job_of(Create(step), **EVERYTHING)
    pod, container = pod_of(job), container_of(job)
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
    assert kinds <= {"emptyDir", "projected", "persistentVolumeClaim"}


@pytest.mark.parametrize("step", CPU_STEPS)
def test_waiting_steps_never_hold_a_gpu(step: str) -> None:
    job = job_of(Create(step), **EVERYTHING)
    assert "nvidia.com" not in str(container_of(job)["resources"])
    assert "runtimeClassName" not in pod_of(job) and "resourceClaims" not in pod_of(job)
    assert task_in(job).models.device == "cpu"
    assert literal_environment(job)["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_a_stage_without_models_holds_none_either() -> None:
    assert "nvidia.com/gpu" not in container_of(job_of(Create("depth"), **ON_GPU))["resources"]["limits"]
    assert container_of(job_of(Create("outpaint"), **ON_GPU))["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_stage_with_a_gpu_must_not_run_on_the_cpu_in_silence() -> None:
    assert task_in(job_of(Create("outpaint"), **ON_GPU)).models.device == "cuda"


def test_a_mig_profile_takes_the_place_of_the_gpu() -> None:
    scheduling = {"gpuResource": "nvidia.com/mig-1g.10gb"}
    limits = container_of(job_of(Create("outpaint"), scheduling=scheduling, **ON_GPU))["resources"]["limits"]
    assert limits["nvidia.com/mig-1g.10gb"] == "1" and "nvidia.com/gpu" not in limits


def test_resource_claims_take_the_place_of_the_gpu() -> None:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one-h200"}]
    job = job_of(Create("outpaint"), scheduling={"resourceClaims": claims}, **ON_GPU)
    assert pod_of(job)["resourceClaims"] == claims
    assert container_of(job)["resources"]["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in container_of(job)["resources"]["limits"]


@pytest.mark.parametrize(
    ("override", "requests", "limits"),
    [
        ({"limits": {"nvidia.com/gpu": 2}}, {"memory": "32Gi"}, {"memory": "32Gi", "nvidia.com/gpu": "2"}),
        (
            {"limits": {"nvidia.com/mig-2g.20gb": 1}},
            {"memory": "32Gi"},
            {"memory": "32Gi", "nvidia.com/mig-2g.20gb": "1"},
        ),
        ({"limits": {"nvidia.com/gpu": 0}}, {"memory": "32Gi"}, {"memory": "32Gi"}),
        ({"requests": {"nvidia.com/gpu": 2}}, {"memory": "32Gi"}, {"memory": "32Gi", "nvidia.com/gpu": "2"}),
        ({"requests": {"memory": "64Gi"}}, {"memory": "64Gi"}, {"memory": "64Gi", "nvidia.com/gpu": "1"}),
        ({"limits": {"memory": "16Gi"}}, {"memory": "16Gi"}, {"memory": "16Gi", "nvidia.com/gpu": "1"}),
        (
            {"requests": {"memory": "64Gi"}, "limits": {"memory": "16Gi"}},
            {"memory": "16Gi"},
            {"memory": "16Gi", "nvidia.com/gpu": "1"},
        ),
        ({"limits": {"rdma/hca": 1}}, {"memory": "32Gi"}, {"memory": "32Gi", "nvidia.com/gpu": "1", "rdma/hca": "1"}),
    ],
)
def test_overrides_of_resources_give_what_the_api_server_accepts(
    override: dict[str, Any], requests: dict[str, str], limits: dict[str, str]
) -> None:
    execution = {"stageOverrides": {"outpaint": {"resources": override}}}
    found = container_of(job_of(Create("outpaint"), execution=execution, **ON_GPU))["resources"]
    assert found == {"requests": {"cpu": "2", **requests}, "limits": limits}


@pytest.mark.parametrize(
    ("override", "threads"),
    [({}, "2"), ({"requests": {"cpu": 6}}, "6"), ({"limits": {"cpu": "1500m"}}, "2"), ({"limits": {"cpu": 1}}, "1")],
)
def test_thread_variables_are_the_whole_cores(override: dict[str, Any], threads: str) -> None:
    execution = {"stageOverrides": {"depth": {"resources": override}}}
    environment = literal_environment(job_of(Create("depth"), execution=execution))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    assert {environment[name] for name in names} == {threads}


def test_steps_without_overrides_fit_beside_the_operator_on_a_node_of_two_cores() -> None:
    """No object can make them smaller: a request of two cores would never be scheduled there."""
    chart = yaml.safe_load((Path(__file__).parents[3] / "charts" / "scenewright" / "values.yaml").read_text())
    for step in ("models", "index", "publish"):
        assert PodSettings.model_fields[step].default.cpu == 1.0
        assert chart["stages"][step]["cpu"] == 1


def test_a_queue_makes_the_job_suspended_and_only_gpu_stages_join_it() -> None:
    scheduling = {"queueName": "gpus"}
    stage = job_of(Create("outpaint"), scheduling=scheduling, **ON_GPU)
    assert stage["spec"]["suspend"] is True and stage["metadata"]["labels"][names.QUEUE] == "gpus"
    for step in ("index", "depth"):
        job = job_of(Create(step), scheduling=scheduling, **ON_GPU)
        assert "suspend" not in job["spec"] and names.QUEUE not in job["metadata"]["labels"]
    index = job_of(Create("index"), scheduling={**scheduling, "cpuQueueName": "cpus"}, **ON_GPU)
    assert index["spec"]["suspend"] is True and index["metadata"]["labels"][names.QUEUE] == "cpus"


def test_a_queue_that_the_users_labels_name_admits_every_job() -> None:
    scheduling = {"labels": {names.QUEUE: "lab"}}
    for step in ("index", "outpaint"):
        job = job_of(Create(step), scheduling=scheduling, **ON_GPU)
        assert job["spec"]["suspend"] is True and job["metadata"]["labels"][names.QUEUE] == "lab"


def gpus_noted(step: str = "outpaint", **spec: Any) -> str:
    """How many GPUs the operator counts for each Pod of a step's Job."""
    return str(needs_of(plan_of(**ON_GPU, **spec), step, SETTINGS).gpus)


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({}, "1"),
        ({"nvidia.com/gpu": 4}, "4"),
        ({"nvidia.com/mig-1g.5gb": "2"}, "2"),
        ({"rdma/hca": 8}, "1"),
        ({"nvidia.com/gpumem": 10_000, "nvidia.com/gpucores": 50}, "1"),
        ({"nvidia.com/gpumem": 10_000, "nvidia.com/gpu": 2}, "2"),
    ],
)
def test_gpus_are_counted_by_the_resource_that_stands_for_one(limits: dict[str, Any], count: str) -> None:
    execution = {"stageOverrides": {"outpaint": {"resources": {"limits": limits}}}}
    assert gpus_noted(execution=execution) == count
    job = job_of(Create("outpaint"), execution=execution, **ON_GPU)
    assert (
        container_of(job)["resources"]["limits"].items() >= {name: str(each) for name, each in limits.items()}.items()
    )


def test_a_gpu_of_a_claim_is_counted_and_a_cpu_step_has_none() -> None:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one-h200"}]
    assert gpus_noted(scheduling={"resourceClaims": claims}) == "1"
    assert gpus_noted("index") == "0"


def test_a_gpu_resource_of_another_vendor_is_counted_and_its_parts_are_not() -> None:
    execution = {"stageOverrides": {"outpaint": {"resources": {"limits": {"gpu.intel.com/i915": 2}}}}}
    assert gpus_noted(execution=execution, scheduling={"gpuResource": "gpu.intel.com/i915"}) == "2"


def made_from(configured: PodSettings = SETTINGS, run: str = "0badcafe-1", **spec: Any) -> str:
    found: str = job_of(Create("depth", run=run), configured, **spec)["metadata"]["annotations"][names.TEMPLATE]
    return found


def test_a_job_tells_from_what_it_was_made() -> None:
    other_images = SETTINGS.model_copy(update={"images": {"cpu": "cpu:2"}})
    others = [
        made_from(scheduling={"nodeSelector": {"pool": "a"}}),
        made_from(scheduling={"cpuQueueName": "lab"}),
        made_from(execution={"stageOverrides": {"depth": {"image": "mine:2"}}}),
        made_from(other_images),
    ]
    assert len({made_from(), *others}) == 5
    assert made_from() == made_from()


def image_names(*steps: str, **spec: Any) -> list[str]:
    images = {name: name for name in IMAGES}
    return [container_of(job_of(Create(step), PodSettings(images=images), **spec))["image"] for step in steps]


def test_a_step_runs_in_the_smallest_image_that_has_what_it_needs() -> None:
    steps = ("index", "outpaint", "depth", "coarse", "publish")
    assert image_names(*steps) == ["cpu"] * 5, "without models nobody pulls CUDA"
    accepted = {"models": {"acceptLicenses": ["apple-amlr", "flux-1-dev-non-commercial"]}}
    depth = {"vistadream": {"mode": "coarse", "depth": {"backend": "depth-pro"}}, **accepted}
    assert image_names(*steps, "render", **depth) == ["cpu", "cpu", "perception", "perception", "cpu", "gaussians"]
    assert image_names("outpaint", "depth", "coarse", **ON_GPU) == ["diffusion", "cpu", "cpu"]
    override = {"execution": {"stageOverrides": {"depth": {"image": "mine:2"}}}}
    assert image_names("depth", "render", **override) == ["mine:2", "cpu"]


def test_an_image_of_a_pipelines_own_is_taken_as_it_is() -> None:
    stage = next(each for each in plan_of().chain if each.name == "depth")
    assert image_of(replace(stage, pod=StagePod(image="lab-depth")), on_gpu=False) == "lab-depth"
    own = replace(stage, pod=StagePod(image="lab-depth"), models=StageModels({"depth": "depth-pro"}))
    assert image_of(own, on_gpu=True) == "lab-depth"


@pytest.mark.parametrize("facts", [each for each in backends() if each.family == "model"], ids=lambda each: each.name)
def test_every_model_has_an_image_with_cuda(facts: BackendFacts) -> None:
    assert facts.image in IMAGES[1:]


def test_an_image_that_is_not_configured_is_refused_by_name() -> None:
    with pytest.raises(UnknownImageError, match=r"images\.cpu: not in the operator's configuration, which has other"):
        job_of(Create("depth"), PodSettings(images={"other": "x"}))


def test_only_named_keys_of_the_storage_secret_are_taken() -> None:
    job = job_of(Create("depth"), storage={"secretName": "lab-s3"})
    assert "envFrom" not in container_of(job)
    taken = {name: source["secretKeyRef"] for name, source in referenced_environment(job).items() if "AWS" in name}
    needed = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert taken == {key: {"name": "lab-s3", "key": key, "optional": key not in needed} for key in STORAGE_KEYS}


@pytest.mark.parametrize("key", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_pod_without_the_keys_of_its_storage_does_not_start_with_the_rights_of_its_node(key: str) -> None:
    """The kubelet starts no container whose secretKeyRef leads nowhere, unless that is optional."""
    found = referenced_environment(job_of(Create("depth"), storage={"secretName": "lab-s3"}))
    assert found[key]["secretKeyRef"]["optional"] is False


def test_workload_identity_takes_the_place_of_keys() -> None:
    job = job_of(Create("depth"), storage={"serviceAccountName": "scenes"})
    assert pod_of(job)["serviceAccountName"] == "scenes"
    assert set(referenced_environment(job)) == {"SCENEWRIGHT_POD"}


def test_the_token_of_the_model_hub_reaches_the_models_step_alone() -> None:
    holders = [step for step in (*CPU_STEPS, *STAGES) if "HF_TOKEN" in str(job_of(Create(step), **ON_GPU))]
    assert holders == ["models"]


def test_the_model_cache_is_writable_for_the_models_step_alone() -> None:
    modes = {
        step: [mount["readOnly"] for mount in container_of(job_of(Create(step), **ON_GPU))["volumeMounts"]
               if mount["mountPath"] == "/models"]
        for step in ("models", "index", "outpaint", "depth")
    }  # fmt: skip
    assert modes == {"models": [False], "index": [], "outpaint": [True], "depth": []}


def test_compiled_kernels_are_shared_through_the_claim_or_kept_on_scratch() -> None:
    shared = job_of(Create("outpaint"), **ON_GPU)
    assert literal_environment(shared)["TRITON_CACHE_DIR"] == "/compiled/triton"
    mounts = {mount["mountPath"]: mount for mount in container_of(shared)["volumeMounts"]}
    assert mounts["/compiled"] == {"name": "models", "mountPath": "/compiled", "subPath": "compile"}
    private = SETTINGS.model_copy(
        update={"model_cache": SETTINGS.model_cache.model_copy(update={"share_compiled": False})}
    )
    job = job_of(Create("outpaint"), private, **ON_GPU)
    assert literal_environment(job)["TRITON_CACHE_DIR"].startswith("/scratch/")
    assert "/compiled" not in {mount["mountPath"] for mount in container_of(job)["volumeMounts"]}


def test_an_image_that_an_object_names_shares_no_compiled_kernels() -> None:
    execution = {"stageOverrides": {"outpaint": {"image": "mine:2"}}}
    job = job_of(Create("outpaint"), execution=execution, **ON_GPU)
    assert literal_environment(job)["TRITON_CACHE_DIR"].startswith("/scratch/")
    assert "/compiled" not in {mount["mountPath"] for mount in container_of(job)["volumeMounts"]}


@pytest.mark.parametrize("step", [*CPU_STEPS, *STAGES])
def test_everything_that_libraries_write_lies_on_writable_volumes(step: str) -> None:
    job = job_of(Create(step), **ON_GPU)
    environment = literal_environment(job)
    mounts = [mount["mountPath"] for mount in container_of(job)["volumeMounts"] if not mount.get("readOnly")]
    names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    for name in (*names, "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "SCENEWRIGHT_SCRATCH"):
        assert any(environment[name].startswith(mount) for mount in mounts), name
    (shared,) = (volume for volume in pod_of(job)["volumes"] if volume["name"] == "shared-memory")
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod_of(job)["volumes"] if "emptyDir" in volume)


def test_the_progress_token_is_projected_for_its_own_audience_or_not_at_all() -> None:
    job = job_of(Create("depth"))
    (volume,) = (volume for volume in pod_of(job)["volumes"] if "projected" in volume)
    token = {"path": "token", "audience": "scenewright-progress", "expirationSeconds": 3600}
    assert volume["projected"] == {"sources": [{"serviceAccountToken": token}]}
    assert literal_environment(job)["SCENEWRIGHT_PROGRESS_TOKEN"] == "/var/run/secrets/scenewright/progress/token"
    silent = job_of(Create("depth"), PodSettings(images=SETTINGS.images))
    assert "SCENEWRIGHT_PROGRESS_URL" not in literal_environment(silent)
    assert not any("projected" in volume for volume in pod_of(silent)["volumes"])


@pytest.mark.parametrize("flag", ["fold_index", "fold_publish", "retry_failed", "plan_only"])
def test_the_task_equals_the_local_executors_except_where_it_runs(flag: str) -> None:
    job = job_of(Create("depth", shards=7, **{flag: True}))
    facts = {"threads": thread_environment({}, 2)}
    run = RunSettings(run="0badcafe-1", holder=UID, device="cpu", retry_failed=flag == "retry_failed", facts=facts)
    flags = {} if flag == "retry_failed" else {flag: True}
    assert task_in(job) == task_of(plan_of(), run, "depth", 7, **flags)


def test_dollars_in_a_prompt_reach_the_worker_and_name_no_variable() -> None:
    prompt = "$(HOME) costs $5, $$(OMP_NUM_THREADS) and $(AWS_SECRET_ACCESS_KEY)"
    block = {"mode": "coarse", "outpaint": {"backend": "flux-fill", "prompt": prompt}}
    job = job_of(Create("index"), vistadream=block, models=ON_GPU["models"], storage={"secretName": "lab"})
    assert task_in(job).parameters["outpaint"]["prompt"] == prompt


def test_variables_of_the_configuration_give_way_to_ours() -> None:
    added = {"HTTPS_PROXY": "http://proxy:3128", "HOME": "/root", "SCENEWRIGHT_POD": "x"}
    job = job_of(Create("depth"), SETTINGS.model_copy(update={"environment": added}))
    environment = literal_environment(job)
    assert environment["HTTPS_PROXY"] == "http://proxy:3128" and environment["HOME"] == "/scratch/home"
    names = [entry["name"] for entry in container_of(job)["env"]]
    assert len(names) == len(set(names)) and "SCENEWRIGHT_POD" in referenced_environment(job)


def test_the_belt_never_ends_a_shard_that_keeps_its_times() -> None:
    execution = {"samplesPerShard": 5, "sampleTimeoutSeconds": 600, "retries": {"perSample": 2, "perShard": 4}}
    deadline = pod_of(job_of(Create("depth"), execution=execution))["activeDeadlineSeconds"]
    assert 5 * 600 * 3 < deadline < 5 * 600 * 3 + 7200
    folded = pod_of(job_of(Create("depth", fold_publish=True), execution=execution))["activeDeadlineSeconds"]
    assert folded > deadline
    longest = {"samplesPerShard": 1_000_000, "sampleTimeoutSeconds": 604_800}
    assert pod_of(job_of(Create("depth"), execution=longest))["activeDeadlineSeconds"] == 2**31 - 1


def test_the_worker_is_gone_before_the_kubelet_kills_it() -> None:
    job = job_of(Create("depth"), SETTINGS.model_copy(update={"grace_seconds": 60}))
    assert pod_of(job)["terminationGracePeriodSeconds"] == 60
    assert literal_environment(job)["SCENEWRIGHT_GRACE_SECONDS"] == "55"


def test_scratch_can_be_a_volume_of_its_own() -> None:
    job = job_of(Create("depth"), SETTINGS.model_copy(update={"scratch_storage_class": "fast"}))
    (volume,) = (volume for volume in pod_of(job)["volumes"] if volume["name"] == "scratch")
    claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == "fast" and claim["resources"] == {"requests": {"storage": "8Gi"}}


def test_a_pod_holds_the_gpus_of_all_its_processes() -> None:
    job = stage_job_of("coarse", processes=4, resources=Resources(gpus=2, gpu_memory_gib=20.0))
    assert container_of(job)["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert literal_environment(job)["SCENEWRIGHT_GPUS"] == "8"
    assert job["spec"]["template"]["metadata"]["annotations"][names.GPU_MEMORY] == "20Gi", "of each"


@pytest.mark.parametrize(("cpu", "processes", "threads"), [(8.0, 1, "8"), (8.0, 4, "2"), (8.0, 3, "2"), (2.0, 4, "1")])
def test_processes_that_work_together_share_the_cores(cpu: float, processes: int, threads: str) -> None:
    job = stage_job_of("coarse", processes=processes, resources=Resources(cpu=cpu))
    assert literal_environment(job)["OMP_NUM_THREADS"] == threads


def test_processes_on_a_cpu_ask_for_no_gpu() -> None:
    job = stage_job_of("coarse", processes=4)
    assert "nvidia.com" not in str(container_of(job)["resources"])
    assert task_in(job).models.device == "cpu"


@pytest.mark.parametrize(("processes", "size"), [(1, "2Gi"), (8, "16Gi")])
def test_shared_memory_has_room_for_every_process(processes: int, size: str) -> None:
    settings = SETTINGS.model_copy(update={"shared_memory_gib": 2.0})
    volumes = pod_of(stage_job_of("coarse", settings, processes=processes))["volumes"]
    (found,) = [each["emptyDir"] for each in volumes if each["name"] == "shared-memory"]
    assert found == {"medium": "Memory", "sizeLimit": size}


def test_a_stage_gets_its_secret_and_no_other_step_does() -> None:
    secret = SecretKey("language-model", "token", "LANGUAGE_MODEL_TOKEN")
    found = referenced_environment(stage_job_of("coarse", secret=secret))
    key = {"name": "language-model", "key": "token", "optional": False}
    assert found["LANGUAGE_MODEL_TOKEN"] == {"secretKeyRef": key}
    assert "AWS_ACCESS_KEY_ID" in found, "as before"
    for step in (*CPU_STEPS, "depth"):
        assert "LANGUAGE_MODEL_TOKEN" not in str(job_of(Create(step)))


def test_only_the_pods_of_a_stage_with_egress_carry_its_label_which_users_cannot_set() -> None:
    job = stage_job_of("coarse", egress="language-model")
    assert job["spec"]["template"]["metadata"]["labels"][names.EGRESS] == "language-model"
    plain = job_of(Create("coarse"), scheduling={"labels": {names.EGRESS: "language-model"}})
    for metadata in (plain["metadata"], plain["spec"]["template"]["metadata"]):
        assert names.EGRESS not in metadata["labels"]


def test_no_clock_of_the_pod_ends_work_that_keeps_state() -> None:
    """The time of a sample starts again with every state that it saves, which may be for weeks."""
    assert "activeDeadlineSeconds" in pod_of(stage_job_of("coarse"))
    assert "activeDeadlineSeconds" not in pod_of(stage_job_of("coarse", keeps_state=True))


def test_lost_processes_do_not_use_up_the_retries_of_work_that_keeps_state() -> None:
    assert stage_job_of("coarse")["spec"]["backoffLimitPerIndex"] == 3
    assert stage_job_of("coarse", keeps_state=True)["spec"]["backoffLimitPerIndex"] == RESTARTS_WITH_STATE


def test_where_the_cluster_gives_users_no_pod_names_one() -> None:
    """OpenShift refuses Pods whose user is outside of the range of their namespace."""
    context = pod_of(job_of(Create("depth"), SETTINGS.model_copy(update={"user": 0})))["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
    assert context["runAsNonRoot"] is True, "the restricted standard holds all the same"
