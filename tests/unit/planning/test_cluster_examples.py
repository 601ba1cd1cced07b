"""The files of `examples/cluster` with the chart's values that lie beside them: plannable as they are."""

from __future__ import annotations

from pathlib import Path

import yaml

from scenewright.api.kinds import KINDS
from scenewright.planning.lab import check_lab_defaults
from scenewright.planning.plan import Plan, make_plan
from scenewright_stages.pipelines import pipelines

FOLDER = Path(__file__).parents[3] / "examples" / "cluster"
DEFAULTS = yaml.safe_load((FOLDER / "values.yaml").read_text())["defaults"]


def plans() -> list[Plan]:
    files = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "values.yaml")
    return [make_plan(yaml.safe_load(path.read_text()), defaults=DEFAULTS) for path in files]


def test_every_pipeline_has_one_and_none_repeats_what_the_lab_says() -> None:
    check_lab_defaults(DEFAULTS)
    found = plans()
    assert {plan.pipeline.name for plan in found} == {name for kind in KINDS for name in pipelines(kind, built_in=True)}
    for plan in found:
        assert set(plan.lab) == {"storage"}
        assert plan.spec.storage.secret_name == "lab-s3"
        assert plan.spec.output.uri.startswith("s3://scenes/")


def test_their_pictures_are_in_the_repository() -> None:
    inputs = FOLDER.parent / "inputs"
    for plan in plans():
        if plan.input_uri:
            assert (inputs / plan.input_uri.removeprefix("s3://photos/")).exists(), plan.input_uri
