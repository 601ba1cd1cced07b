"""Of several manifests an option is for the object that it names or alone fits, or is refused with the spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scenewright.cli.addressing import assignments_of, stages_of
from scenewright.cli.manifests import Changes, load_plans
from scenewright.planning.problems import SpecError

EXAMPLES = Path(__file__).parents[3] / "examples"


def documents(*names: str) -> list[dict[str, Any]]:
    """A data set of pairs, and a tuning run on it."""
    pairs, tuning = names or ("pairs", "fixer")
    return [
        {"kind": "DatasetJob", "metadata": {"name": pairs}, "spec": {"difixPairs": {}}},
        {"kind": "TuningRun", "metadata": {"name": tuning}, "spec": {"fixer": {}}},
    ]


def test_a_stage_is_for_the_only_object_that_has_it() -> None:
    assert stages_of(documents(), "--only", "evaluate") == [[], ["evaluate"]]
    assert stages_of(documents(), "--only", "capture,tune") == [["capture"], ["tune"]]


def test_a_name_holds_for_the_stages_after_it() -> None:
    assert stages_of(documents(), "--only", "pairs:capture,spoil,fixer:tune") == [["capture", "spoil"], ["tune"]]


def test_one_manifest_needs_no_name_and_leaves_the_check_to_validation() -> None:
    assert stages_of(documents()[:1], "--only", "nonsense") == [["nonsense"]]
    assert assignments_of(documents()[1:], ["steps=3", "fixer:execution.seed=7"]) == [["steps=3", "execution.seed=7"]]


def test_a_field_is_for_the_named_object_or_for_the_only_one_that_has_it() -> None:
    given = ["pairs:execution.seed=7", "training.steps=3", "fixer:execution.seed=8"]
    assert assignments_of(documents(), given) == [["execution.seed=7", "training.steps=3"], ["execution.seed=8"]]


@pytest.mark.parametrize(
    ("names", "option", "text", "remedy"),
    [
        ((), "--set", "execution.seed=7", "write --set pairs:execution.seed=7 or --set fixer:execution.seed=7"),
        (("a", "a"), "--set", "execution.seed=7", "--set datasetjob/a:execution.seed=7 or --set tuningrun/a:"),
        (("a", "a"), "--set", "a:execution.seed=7", "several objects have this name: write --set datasetjob/a:"),
        ((), "--set", "nobody:execution.seed=7", "there are: pairs, fixer"),
        ((), "--set", "colour=red", "pairs: no such field"),
        ((), "--only", "paint", "no object has this stage: pairs has capture, spoil, pair; fixer has tune, evaluate"),
        ((), "--only", "nobody:tune", "there are: pairs, fixer"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_spelling(
    names: tuple[str, ...], option: str, text: str, remedy: str
) -> None:
    with pytest.raises(SpecError) as refused:
        if option == "--set":
            assignments_of(documents(*names), [text])
        else:
            stages_of(documents(*names), option, text)
    assert remedy in refused.value.problems[0].remedy


def test_a_tuning_run_with_its_data_set_s_manifest_can_run_one_stage_with_fields_of_its_own() -> None:
    files = [EXAMPLES / "difix-pairs.yaml", EXAMPLES / "difix-tuning.yaml"]
    changes = Changes(only="room-fixer:tune", assignments=["room-fixer:execution.seed=3", "fixer.steps=7"])
    pairs, fixer = load_plans(files, changes)
    assert (fixer.selected, fixer.spec.execution.seed) == (("tune",), 3)
    assert fixer.parameters.model_dump()["steps"] == 7
    assert (pairs.selected, pairs.spec.execution.seed) == (("capture", "spoil", "pair"), 42)
