"""What a changed field of the manifest, a retry or a forced run makes again: of every row of the original's tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from toy_chains import by_sample, chain_of, photo

from scenewright_stages.contract.keys import input_fingerprint
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.pipelines import pipeline
from scenewright_stages.reference.augment import chances
from scenewright_stages.reference.degradation import drawn
from scenewright_stages.reference.family import views
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.index.work import plan_work
from scenewright_stages.worker.states import Evidence, Relatives, SampleState, States, current_upstream

SMALL: dict[str, Any] = {
    "perspectives": {"angles": [-20.0, 20.0]},
    "prompts": {"count": 2},
    "scenes": {"iterations": 1, "emptyShare": 0.0},
    "vary": {"enabled": True},
}
CUP = photo("cup", attributes={"class": "cup", "title": "cup", "home": "", "roster": [["cup", "cup"]]})
STEPS = ("white", "perspectives", "prompts", "scenes", "vary", "annotate", "augment")


def chain(block: Mapping[str, Any], selected: Sequence[str] | None = None) -> Chain:
    return chain_of(pipeline("referenceObject"), block, selected=selected)


def outputs(stage: StageSpec, sample: Sample, params: ReferenceObjectParams) -> dict[str, OutputFile]:
    """Files as the stage would have made them; parts where later stages read single ones."""
    names = {
        "views": [view.file for view in views(params)],
        "cutouts": [view.part for view in views(params)],
        "fields": [f"prompt_{number:03d}.json" for number in range(params.prompts.count)],
    }
    made = {}
    for output in stage.outputs:
        path, name = output.path_for(sample), f"{stage.name}/{sample.id}/{output.name}"
        parts = {each: (1, f"{name}/{each}") for each in names.get(output.name, ["file"])}
        made[output.name] = OutputFile.of_parts(path, parts) if output.form == "folder" else OutputFile(path, 1, name)
    return made


def everything_done(block: Mapping[str, Any], objects: Sequence[Sample] = (CUP,)) -> dict[str, dict[str, Record]]:
    """Records of a finished run, by stage and sample."""
    done = chain(block)
    assert isinstance(done.parameters, ReferenceObjectParams)
    population = done.population(objects)
    relatives, states = Relatives(done, population), States()
    for stage in done.stages:
        states[stage.name] = {}
        for sample in population[done.levels[stage.name]]:
            record = Record(
                sample.id,
                stage.name,
                done.keys[stage.name],
                "done",
                at=10.0,
                run="first",
                fingerprint=input_fingerprint(stage, sample, {}),
                upstream=current_upstream(stage, relatives.upstream(stage, sample, states)),
                outputs=outputs(stage, sample, done.parameters),
            )
            states[stage.name][sample.id] = SampleState("done", record)
    return {name: {key: state.record for key, state in of.items() if state.record} for name, of in states.items()}


def evidence(records: Mapping[str, Mapping[str, Record]]) -> Evidence:
    return Evidence(by_sample([record for of in records.values() for record in of.values()]))


def todo(block: Mapping[str, Any], records: Mapping[str, Mapping[str, Record]], **options: Any) -> dict[str, set[str]]:
    """Samples to run by stage, without stages that have nothing to do."""
    selected = options.pop("selected", None)
    now = chain(block, selected)
    work = plan_work(now, now.population([CUP]), evidence(records), **options)
    return {name: {item.sample.id for item in each.todo} for name, each in work.items() if each.todo}


def merged(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**SMALL, **{k: {**SMALL.get(k, {}), **v} if isinstance(v, dict) else v for k, v in changes.items()}}


AUGMENTS: dict[str, Any] = {
    "bwProbability": 0.0,
    "saturationProbability": 0.1,
    "contrastProbability": 1.0,
    "brightnessProbability": 1.0,
    "motionBlurProbability": 0.0,
    "compressionNoiseProbability": 0.2,
    "saturationRange": [0.5, 1.0],
    "contrastRange": [0.9, 1.1],
    "brightnessRange": [0.9, 1.1],
    "motionBlurRange": [3, 5],
    "compressionIterationsRange": [1, 2],
    "compressionQualityRange": [80, 90],
}


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({}, set()),
        ({"objectName": "mug"}, {"prompts", "scenes", "vary", "annotate", "augment"}),
        ({"prompts": {"count": 3}}, {"prompts", "scenes", "vary", "annotate", "augment"}),
        ({"scenes": {"iterations": 2}}, {"scenes", "vary", "annotate", "augment"}),
        ({"scenes": {"size": [320, 320]}}, {"scenes", "vary", "annotate", "augment"}),
        ({"scenes": {"background": "own"}}, {"backdrop", "scenes", "vary", "annotate", "augment"}),
        ({"perspectives": {"angles": [-20.0, 25.0]}}, {"perspectives", "scenes", "vary", "annotate", "augment"}),
        ({"vary": {"count": 2}}, {"vary", "annotate", "augment"}),
        ({"vary": {"weathers": ["fog"]}}, {"vary", "annotate", "augment"}),
        ({"vary": {"enabled": False}}, {"annotate", "augment"}),
        ({"annotate": {"splitRatio": 0.3}, "prompts": {"count": 2}}, set()),
        ({"annotate": {"minimumArea": 0.1}}, {"annotate", "augment"}),
        ({"augment": {"count": 2}}, {"augment"}),
        ({"augment": {"enabled": False}}, set()),
        ({"keep": []}, {"white", "perspectives", "prompts", "scenes", "vary", "annotate", "augment"}),
        *[({"augment": {name: value}}, {"augment"}) for name, value in AUGMENTS.items()],
    ],
)
def test_a_changed_row_runs_what_depends_on_it(changes: dict[str, Any], stages: set[str]) -> None:
    assert set(todo(merged(changes), everything_done(SMALL))) == stages


PAINTED: dict[str, Any] = {
    **SMALL,
    "white": {"backend": "qwen-edit"},
    "perspectives": {"backend": "qwen-multicamera"},
    "prompts": {"count": 2, "backend": "ollama", "url": "http://model:1/v1", "model": "small"},
    "scenes": {"iterations": 1, "emptyShare": 0.0, "backend": "qwen-edit"},
    "vary": {"enabled": True, "backend": "qwen-edit"},
    "annotate": {"backend": "persam-f", "refine": "sam2"},
}
"""The steps as the original makes them."""
_FROM = {name: set(STEPS[STEPS.index(name) :]) for name in STEPS}
_SCENES_ON = _FROM["scenes"] | {"perspectives"}


@pytest.mark.parametrize(
    ("row", "changes", "stages"),
    [
        ("--perspective_generator", {"perspectives": {"backend": "zero123"}}, _SCENES_ON),
        ("views of the cameras", {"perspectives": {"cameraElevations": ["eye-level"]}}, _SCENES_ON),
        ("--model_path", {"scenes": {"variant": "4bit"}}, _FROM["scenes"]),
        ("--model_path, a path", {"scenes": {"revision": "/models/mine"}}, _FROM["scenes"]),
        ("--model_path of step 1", {"white": {"variant": "2509"}}, _FROM["white"] - {"prompts"}),
        ("--model_path of step 5", {"vary": {"revision": "v2"}}, _FROM["vary"]),
        ("--system_prompt_file", {"prompts": {"systemFile": "s3://texts/system.txt"}}, _FROM["prompts"]),
        ("--project_info_file", {"prompts": {"projectFile": "s3://texts/project.txt"}}, _FROM["prompts"]),
        ("--predefined_prompts_file", {"vary": {"file": "s3://texts/lines.txt"}}, _FROM["vary"]),
        ("--sam_type", {"annotate": {"variant": "vit-l"}}, _FROM["annotate"]),
        ("--sam_ckpt", {"annotate": {"revision": "s3://weights/sam"}}, _FROM["annotate"]),
        ("--sam2_config", {"annotate": {"refineVariant": "tiny"}}, _FROM["annotate"]),
        ("--sam2_ckpt", {"annotate": {"refineRevision": "/models/sam2"}}, _FROM["annotate"]),
        ("--enable_persam_training", {"annotate": {"backend": "persam"}}, _FROM["annotate"]),
        ("--persam_lr", {"annotate": {"persamLearningRate": 0.01}}, _FROM["annotate"]),
        ("--persam_epochs", {"annotate": {"persamEpochs": 10}}, _FROM["annotate"]),
        ("--persam_log_epoch", {"annotate": {"persamLogEpochs": 5}}, set()),
        ("--enable_annotation", {"annotate": {"enabled": False}, "augment": {"enabled": False}}, set()),
    ],
)
def test_a_changed_row_of_the_models_runs_what_depends_on_it(
    row: str, changes: dict[str, Any], stages: set[str]
) -> None:
    block = {**PAINTED, **{k: {**PAINTED.get(k, {}), **v} for k, v in changes.items()}}
    assert set(todo(block, everything_done(PAINTED))) == stages


def test_what_is_not_kept_lies_among_the_work_and_the_data_set_always_is_kept() -> None:
    def results(**changes: Any) -> set[str]:
        stages = chain(merged(changes)).stages
        return {output.path.split("/")[-2] for stage in stages for output in stage.outputs if output.result}

    kept = {"04_dataset", "labels", "images"}
    assert results(keep=["scenes"]) == kept
    assert results(keep=[]) == {"labels", "images"}
    assert results() >= {"{home}", "02_perspectives", "03_prompts", "05_qwen_combined_images", *kept}
    for stage in chain(merged({"keep": []})).stages:
        for output in stage.outputs:
            assert output.result == (".scenewright/work/" not in output.path)


def test_the_split_ratio_moves_images_once_there_are_groups_to_move() -> None:
    block = merged({"prompts": {"count": 6}})
    found = todo(merged({"prompts": {"count": 6}, "annotate": {"splitRatio": 0.4}}), everything_done(block))
    assert set(found) == {"annotate", "augment"}


@pytest.mark.parametrize(("name", "value"), AUGMENTS.items())
def test_each_row_of_the_augmentations_changes_its_own_step_alone(name: str, value: Any) -> None:
    before = ReferenceObjectParams().augment
    after = ReferenceObjectParams.model_validate({"augment": {name: value}}).augment
    pairs = [(drawn(chances(before), seed).as_dict(), drawn(chances(after), seed).as_dict()) for seed in range(40)]
    changed = {field for one, other in pairs for field in one if one[field] != other[field]}
    fields = {
        "bw": {"black_and_white"},
        "saturation": {"saturation"},
        "contrast": {"contrast"},
        "brightness": {"brightness"},
        "motionBlur": {"blur", "blur_degrees"},
        "compression": {"qualities"},
    }
    own = next(names for step, names in fields.items() if name.startswith(step))
    assert changed
    assert changed <= own


def test_one_more_prompt_and_one_more_variation_add_only_their_own() -> None:
    records = everything_done(SMALL)
    more = todo(merged({"prompts": {"count": 3}}), records)
    # The files of the first prompts may come out the same: what reads them is only listed, and looked at again then.
    assert {name for name in more["scenes"] if name not in records["scenes"]} == {
        name for name in more["scenes"] if "_prompt_2_" in name
    }
    varied = todo(merged({"vary": {"count": 2}}), records)
    assert all("/aug_1" in name for stage in varied.values() for name in stage)


@pytest.mark.parametrize("step", STEPS)
def test_starting_from_a_step_runs_what_differs_and_forced_everything_from_there(step: str) -> None:
    records = everything_done(SMALL)
    later = STEPS[STEPS.index(step) :]
    assert not todo(SMALL, records, selected=later)
    forced = todo(SMALL, records, selected=later, forced_by="second")
    assert tuple(forced) == later
    assert all(forced[name] == set(records[name]) for name in later)
    halfway = {name: {key: replace(each, run="second") for key, each in of.items()} for name, of in records.items()}
    assert not todo(SMALL, halfway, selected=later, forced_by="second")


def failed(
    records: Mapping[str, Mapping[str, Record]], stage: str, names: Collection[str]
) -> dict[str, dict[str, Record]]:
    """The records of a run in which some samples of a stage failed, and nothing came of them."""
    found: dict[str, dict[str, Record]] = {}
    for name, of in records.items():
        found[name] = {}
        for key, record in of.items():
            if name == stage and key in names:
                found[name][key] = replace(record, state="failed", reason="Bad", outputs={})
            elif STEPS.index(name) < STEPS.index(stage) or not any(f"{key}/".startswith(f"{each}/") for each in names):
                found[name][key] = record
    return found


@pytest.mark.parametrize("step", ["scenes", "vary"])
def test_the_two_retry_modes_try_what_failed_in_one_step_and_nothing_else(step: str) -> None:
    records = everything_done(SMALL)
    lost = sorted(records[step])[1:3]
    after = failed(records, step, lost)
    assert not todo(SMALL, after, selected=[step]), "a plain run does not try again"
    assert todo(SMALL, after, selected=[step], retry_failed=True) == {step: set(lost)}
    everything = todo(SMALL, after, retry_failed=True)
    assert everything[step] == set(lost)
    assert set(everything) == set(STEPS[STEPS.index(step) :])
    assert all(any(key.startswith(each) for each in lost) for of in everything.values() for key in of)
