"""``models.policy: permissive``: no chain loads restricted weights, and specs without it stay as they were."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from scenewright.api.names import API_VERSION
from scenewright.cli.commands.models import policy_command
from scenewright.planning.documents import with_value
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.policy import Slot, restricted_licences, served_capabilities
from scenewright.planning.problems import SpecError
from scenewright.planning.tasks import RunSettings, task_of
from scenewright_stages.backends.runtime.choices import choices_of, licensed_weights
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted
from scenewright_stages.backends.runtime.registry import backends, check_licence, find_backend
from scenewright_stages.contract.pipeline import Pipeline
from scenewright_stages.pipelines import pipelines

EVERY_LICENCE = sorted({each.licence for facts in backends() for v in facts.weights for each in facts.licensed(v)})
BUILT_IN = pipelines(built_in=True)


def document(pipeline: Pipeline, block: Any, models: Any, **execution: Any) -> dict[str, Any]:
    given = {"dataset": {"uri": "file:///pairs"}} if pipeline.kind == "TuningRun" else {"input": {"uri": "file:///in"}}
    spec = {**given, "output": {"uri": "file:///out"}, pipeline.name: copy.deepcopy(dict(block)), "models": models}
    return {
        "apiVersion": API_VERSION,
        "kind": pipeline.kind,
        "metadata": {"name": "a"},
        "spec": {**spec, "execution": execution} if execution else spec,
    }


def plan_of(name: str, block: Any, **models: Any) -> Plan:
    return make_plan(document(BUILT_IN[name], block, {"acceptLicenses": EVERY_LICENCE, **models}))


def every_block(pipeline: Pipeline) -> Iterator[Any]:
    """The pipeline's blocks, each also with every backend and variant that any of its stages could name."""
    for block in (*pipeline.sample_blocks(), pipeline.photograph_block(1, 1)):
        yield block
        for stage in pipeline.stages(pipeline.parse(block)):
            for capability, path in {**stage.models.weight_parameters, **stage.models.backend_parameters}.items():
                slot = Slot(capability, tuple(path.split(".")))
                parts, beside = ([to_camel(part) for part in each] for each in (slot.path, slot.variant_path))
                for facts in backends(capability):
                    named = with_value(dict(block), parts, facts.name)
                    yield named
                    for variant in facts.weights:
                        yield with_value(named, beside, variant)


def is_valid(pipeline: Pipeline, block: Any) -> bool:
    try:
        pipeline.parse(block)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_chain_loads_restricted_weights_though_every_licence_is_accepted(name: str) -> None:
    planned = refused = 0
    for block in every_block(BUILT_IN[name]):
        if not is_valid(BUILT_IN[name], block):
            continue
        try:
            plan = plan_of(name, block, policy="permissive")
        except SpecError as error:
            assert all(each.field == "spec.models.policy" for each in error.problems), error
            refused += 1
            continue
        planned += 1
        task = task_of(plan, RunSettings(run="r", holder="h"), plan.chain[0].name)
        accepted = task.models.accept_licenses
        for choice in choices_of(plan.chain, plan.parameters, [stage.name for stage in plan.chain]):
            assert not [each.id for each in licensed_weights(choice, accepted) if each.non_commercial]
            for each in choice.names:
                facts = find_backend(choice.capability, each)
                if facts and not facts.weights and facts.formula:
                    assert not facts.formula.non_commercial
    assert planned
    restricted = [each for each in served_capabilities(BUILT_IN[name]) if each.restricted and each.stages]
    assert not refused or restricted


def test_the_worker_refuses_every_restricted_file_with_the_licences_of_such_a_task() -> None:
    plan = plan_of("vistadream", {}, policy="permissive")
    accepted = task_of(plan, RunSettings(run="r", holder="h"), "depth").models.accept_licenses
    assert "sam-license" in accepted
    count = 0
    for facts in backends():
        for variant in facts.weights:
            if any(each.non_commercial for each in facts.licensed(variant)):
                count += 1
                with pytest.raises(LicenceNotAccepted):
                    check_licence(facts, variant, accepted)
    assert count > 10
    assert restricted_licences().isdisjoint(accepted)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_spec_without_the_field_plans_as_before(name: str) -> None:
    for block in BUILT_IN[name].sample_blocks():
        plain, spelt = plan_of(name, block), plan_of(name, block, policy="any")
        assert plain.parameters == spelt.parameters == BUILT_IN[name].parse(block)
        assert plain.keys == spelt.keys
        settings = RunSettings(run="r", holder="h")
        assert "policy" not in json.dumps(task_of(plain, settings, plain.chain[0].name).job)
        assert task_of(plain, settings, "publish").models.accept_licenses == EVERY_LICENCE


def test_what_is_left_at_its_default_becomes_the_best_permitted() -> None:
    plan = plan_of("vistadream", {"mode": "coarse"}, policy="permissive")
    taken = {
        (stage.name, capability): name for stage in plan.chain for capability, name in stage.models.backends.items()
    }
    best = max(backends("depth"), key=lambda facts: facts.rank)
    assert taken["depth", "depth"] == taken["coarse", "depth"] == best.name != "classic"
    (weights,) = licensed_weights(choices_of(plan.chain, plan.parameters, ["depth"])[0], [])
    assert weights in best.weights[best.best_variant]


def test_views_from_texts_are_drawn_by_the_permitted_model() -> None:
    plan = plan_of("worldexplorer", {"scaffold": {"method": "scaffoldGen"}}, policy="permissive", acceptLicenses=[])
    names = plan.stage("candidates").models.backends
    assert names["text-to-image"] == "flux2-klein"
    unruled = plan_of("worldexplorer", {"scaffold": {"method": "scaffoldGen"}})
    assert unruled.stage("candidates").models.backends != names


def test_what_the_spec_says_stays() -> None:
    given = {"depth": {"backend": "depth-anything", "variant": "metric-outdoor-small"}}
    assert plan_of("vistadream", given, policy="permissive").parameters == BUILT_IN["vistadream"].parse(given)
    models = {"policy": "permissive"}
    kept = document(BUILT_IN["vistadream"], {}, models, stageOverrides={"depth": {"backend": "classic"}})
    assert make_plan(kept).stage("depth").models.backends == {"depth": "classic"}


def test_a_refusal_lists_every_restricted_stage_and_what_would_be_permitted() -> None:
    block = {"scenes": {"backend": "flux-fill"}, "perspectives": {"backend": "zero123"}}
    with pytest.raises(SpecError) as refused:
        plan_of("referenceObject", block, policy="permissive")
    text = str(refused.value)
    assert text.count("spec.models.policy: 'permissive'") == 2
    assert "perspectives.backend) would use zero123, whose licence cc-by-nc-4.0 forbids" in text
    assert "permitted: qwen-multicamera" in text and "scenes.backend) would use flux-fill" in text
    with pytest.raises(SpecError, match="no other backend of novel-views has weights that allow it"):
        plan_of("worldexplorer", {"expansion": {"backend": "seva"}}, policy="permissive")


def test_permitted_but_gated_weights_still_need_their_licence_by_name() -> None:
    block = {"points": {"method": "vggt"}}
    assert plan_of("worldexplorer", block, policy="permissive")
    with pytest.raises(SpecError, match=r"spec\.models\.acceptLicenses.*vggt-aup-license"):
        plan_of("worldexplorer", block, policy="permissive", acceptLicenses=[])


def test_a_lab_default_sets_the_policy_and_an_object_may_leave_it() -> None:
    pipeline, defaults = BUILT_IN["vistadream"], {"models": {"policy": "permissive"}}
    assert make_plan(document(pipeline, {}, {}), defaults=defaults).stage("depth").models.backends["depth"] != "classic"
    own = make_plan(document(pipeline, {}, {"policy": "any"}), defaults=defaults)
    assert own.stage("depth").models.backends == {"depth": "classic"}


def test_the_work_hash_knows_the_policy_and_not_what_it_chose() -> None:
    plain, permissive = plan_of("vistadream", {}), plan_of("vistadream", {}, policy="permissive")
    spelt = plan_of("vistadream", {"depth": {"backend": "moge", "variant": "2-vitl"}}, policy="permissive")
    assert len({plain.work_hash, permissive.work_hash, spelt.work_hash}) == 3
    assert permissive.keys == spelt.keys != plain.keys


def test_the_command_names_complete_pipelines_and_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy_command("permissive", as_json=True) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert list(found) == list(pipelines())
    gaps = {
        name: [each["capability"] for each in of["capabilities"] if each["backend"] is None]
        for name, of in found.items()
    }
    assert {name: lacking for name, lacking in gaps.items() if lacking} == {"worldexplorer": ["novel-views"]}
    restricted = restricted_licences()
    for of in found.values():
        for each in of["capabilities"]:
            assert each["backend"] is None or not restricted.intersection(each["licences"])
    assert policy_command("permissive", as_json=False) == 0
    assert "lacks novel-views" in capsys.readouterr().out
    assert policy_command("lax", as_json=False) != 0


def test_every_ranked_order_is_unambiguous() -> None:
    for capability in {facts.capability for facts in backends()}:
        ranks = [facts.rank for facts in backends(capability) if facts.rank]
        assert len(ranks) == len(set(ranks)), capability
    assert all(facts.best_variant in ("", *facts.weights) for facts in backends())


def test_an_unknown_variant_is_a_problem_of_its_own() -> None:
    with pytest.raises(SpecError, match=r"depth\.variant: 'huge': allowed: "):
        plan_of("vistadream", {"depth": {"backend": "moge", "variant": "huge"}}, policy="permissive")


def test_the_field_takes_only_its_values() -> None:
    from scenewright.api.scheduling import Models

    literal = next(each for each in get_args(Models.model_fields["policy"].annotation) if get_origin(each) is Literal)
    assert get_args(literal) == ("any", "permissive")
    with pytest.raises(SpecError, match=r"spec\.models\.policy"):
        plan_of("vistadream", {}, policy="lax")
