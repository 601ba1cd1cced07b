"""What a lab's configuration says for all objects, and what counts as said by an object itself."""

from __future__ import annotations

from typing import Any

import pytest

from scenewright.api.status import Effective, Status
from scenewright.planning.lab import check_lab_defaults, in_status, storage_secret, to_status, with_lab_defaults
from scenewright.planning.plan import make_plan
from scenewright.planning.problems import SpecError

LAB: dict[str, Any] = {
    "storage": {"secretName": "lab-s3"},
    "models": {"cacheClaim": "models"},
    "scheduling": {"queueName": "gpus", "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
    "vistadream": {"coarse": {"frames": 7}},
    "relight": {"segmentation": {"backend": "sam2"}},
}


def document(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "metadata": {"name": "scene", "namespace": "lab"},
        "spec": {"input": {"uri": "s3://photos/in"}, "output": {"uri": "s3://scenes/out"}, "vistadream": {}, **spec},
    }


def test_what_an_object_does_not_say_comes_from_the_lab() -> None:
    plan = make_plan(document(), defaults=LAB)
    assert plan.spec.storage.secret_name == "lab-s3"
    assert plan.spec.models.cache_claim == "models"
    assert plan.spec.scheduling.tolerations[0].key == "nvidia.com/gpu"
    assert plan.parameters.coarse.frames == 7  # type: ignore[attr-defined]
    assert plan.lab == {
        "storage": {"secretName": "lab-s3"},
        "models.cacheClaim": "models",
        "scheduling.queueName": "gpus",
        "scheduling.tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "vistadream.coarse.frames": 7,
    }


def test_an_objects_value_wins_and_is_not_attributed_to_the_lab() -> None:
    said = document(
        models={"cacheClaim": "mine"}, scheduling={"tolerations": []}, vistadream={"coarse": {"frames": 3}},
    )  # fmt: skip
    plan = make_plan(said, defaults=LAB)
    assert plan.spec.models.cache_claim == "mine"
    assert plan.parameters.coarse.frames == 3  # type: ignore[attr-defined]
    # An empty list is the built-in default, which the API server writes into every object.
    assert set(plan.lab) == {"storage", "scheduling.queueName", "scheduling.tolerations"}


def test_storage_is_taken_whole_so_that_keys_and_identities_do_not_mix() -> None:
    plan = make_plan(document(storage={"serviceAccountName": "worker"}), defaults=LAB)
    assert (plan.spec.storage.secret_name, plan.spec.storage.service_account_name) == ("", "worker")


def test_schema_defaults_that_the_api_server_stored_count_as_not_said() -> None:
    stored = document(
        storage={"secretName": "", "serviceAccountName": ""}, models={"cacheClaim": "", "acceptLicenses": []}
    )
    plan = make_plan(stored, defaults=LAB)
    assert (plan.spec.storage.secret_name, plan.spec.models.cache_claim) == ("lab-s3", "models")
    assert storage_secret(stored["spec"], LAB) == "lab-s3"


def test_overrides_of_a_lab_are_for_the_stages_of_all_pipelines() -> None:
    small = {"resources": {"requests": {"cpu": "1"}}}
    overrides = {"stageOverrides": {"coarse": small, "segment": small}}
    plan = make_plan(document(), defaults={"execution": overrides})
    assert plan.spec.execution.stage_overrides["coarse"].resources.requests == {"cpu": "1"}
    with pytest.raises(SpecError, match="segment"):
        make_plan(document(execution=overrides))


def test_a_status_keeps_them() -> None:
    _, taken = with_lab_defaults(document(), LAB)
    kept = in_status(Status(effective=Effective(defaults=to_status(taken))))
    assert with_lab_defaults(document(), kept)[1] == taken
    assert "relight" not in kept


@pytest.mark.parametrize(
    ("defaults", "field"),
    [
        ({"output": {"uri": "s3://x/y"}}, "defaults.output"),
        ({"storage": {"secret": "x"}}, "defaults.storage.secret"),
        ({"execution": {"retryToken": "1"}}, "defaults.execution.retryToken"),
        ({"vistadream": {"coarse": {"frames": -1}}}, "defaults.vistadream.coarse.frames"),
        ({"scheduling": {"tolerations": [{"key": 5}]}}, "defaults.scheduling.tolerations[0].key"),
    ],
)
def test_defaults_that_no_object_could_have_are_refused_by_name(defaults: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_lab_defaults(defaults)
    assert [problem.field for problem in caught.value.problems] == [field]


def test_a_part_of_a_block_with_required_fields_is_enough() -> None:
    check_lab_defaults({**LAB, "fixer": {}, "difixPairs": {}})


def test_a_mapping_of_stages_is_taken_whole() -> None:
    overrides = {"depth": {"image": "lab/depth:1"}}
    lab = {"execution": {"stageOverrides": overrides}}
    check_lab_defaults(lab)
    plan = make_plan(document(), defaults=lab)
    assert plan.lab == {"execution.stageOverrides": overrides}
    assert plan.spec.execution.stage_overrides["depth"].image == "lab/depth:1"
