"""What the facts of depth backends decide: who may be named, which fields have an effect, how far a camera may go."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from scenewright_stages.backends.depth.interface import DEPTH, DepthEstimate
from scenewright_stages.backends.runtime import registry
from scenewright_stages.backends.runtime.choices import BackendChoice, licensed_weights
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.backends import BackendFacts, DepthTraits, Formula
from scenewright_stages.pipelines import pipeline
from scenewright_stages.vistadream.depth import with_a_unit
from scenewright_stages.vistadream.params import DepthParams
from scenewright_stages.worldexplorer.params import WorldDepthParams

VARIANTS = [
    pytest.param(facts, variant, id=f"{facts.name} {variant}".strip())
    for facts in registry.built_in("depth")
    for variant in ("", *facts.weights)
]


def accepted(model: type[Any], **block: Any) -> bool:
    try:
        model.model_validate(block)
    except ValidationError:
        return False
    return True


def traits_of(facts: BackendFacts, variant: str) -> DepthTraits:
    traits = facts.depth_traits(variant)
    assert traits is not None
    return traits


@pytest.mark.parametrize(("facts", "variant"), VARIANTS)
def test_each_variant_takes_the_fields_that_have_an_effect_on_it(facts: BackendFacts, variant: str) -> None:
    traits = traits_of(facts, variant)
    own = {"backend": facts.name, "variant": variant}
    assert accepted(DepthParams, **own)
    assert accepted(DepthParams, **own, nearMetres=2.0) == (traits.scale != "metric")
    assert accepted(DepthParams, **own, farNearRatio=2.0) == (traits.scale == "relative")
    serves_worlds = traits.predicts_new_views and traits.scale != "relative"
    assert accepted(WorldDepthParams, method="model", **own) == serves_worlds
    if traits.scale == "relative":
        assert {"near_metres", "far_near_ratio"} <= facts.all_options.keys()


def test_an_unknown_variant_has_no_traits() -> None:
    assert registry.backend("depth", "moge").depth_traits("giant") is None


@pytest.mark.parametrize(("facts", "variant"), VARIANTS)
def test_only_depth_of_unknown_scale_or_without_a_sky_has_other_keys(facts: BackendFacts, variant: str) -> None:
    """Stores of earlier releases stay valid for all other backends."""
    traits = traits_of(facts, variant)
    chain = pipeline("vistadream").stages(
        pipeline("vistadream").parse({"mode": "coarse", "depth": {"backend": facts.name, "variant": variant}})
    )
    stages = {stage.name: stage.parameters for stage in chain}
    assert ("depth.scale" in stages["depth"]) == (traits.scale == "unknown")
    for name in ("coarse", "render"):
        assert ("depth.marks_sky" in stages[name]) == (traits.scale == "metric" and not traits.marks_sky)


def test_depth_that_is_right_up_to_a_factor_gets_its_nearest_pixels_where_the_spec_says() -> None:
    depth = np.linspace(3, 9, 600, dtype=np.float32).reshape(20, 30)
    depth[0, 0] = np.inf
    estimate = DepthEstimate(depth, np.isfinite(depth).astype(np.float32), None, is_metric=False, notes=("no scale",))
    placed = with_a_unit(estimate, DepthParams(backend="moge", variant="vitl", near_metres=2.0))
    assert np.percentile(placed.depth[placed.valid], 1) == pytest.approx(2.0, rel=1e-4)
    assert placed.depth.dtype == np.float32 and np.isinf(placed.depth[0, 0])
    np.testing.assert_allclose(placed.depth[placed.valid] / depth[placed.valid], 2.0 / 3.05, rtol=0.01)
    assert placed.notes == ("no scale", "its nearest pixels were put at 2 m (depth.nearMetres)")
    metric = replace(estimate, is_metric=True)
    assert with_a_unit(metric, DepthParams(backend="moge", variant="2-vitl")) is metric
    assert with_a_unit(estimate, DepthParams(backend="classic")) is estimate, "its range is assumed already"


NEW_BACKEND = """
import json, sys
from scenewright_stages.backends.depth import facts
from scenewright_stages.contract.backends import BackendFacts, DepthTraits
facts.BACKENDS += (
    BackendFacts(
        "under-test", "depth", "classic", "nova:NovaDepth", "Flat.",
        depth=DepthTraits({scale!r}, marks_sky=True), options={{"near_metres": (), "far_near_ratio": ()}},
    ),
)
from pydantic import ValidationError
from scenewright.api.crds import crd
from scenewright.planning.backends import revisions
from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.pipelines import pipelines

def keys(name, block):
    found = pipelines(built_in=True)[name]
    try:
        params = found.parse(block)
    except ValidationError:
        return "refused"
    chain = found.stages(params)
    return stage_keys(found, params, revisions(chain), 0)["depth"]

answer = {{
    "vistadream": keys("vistadream", {{"mode": "coarse", "depth": {{"backend": "under-test"}}}}),
    "nearMetres": keys("vistadream", {{"depth": {{"backend": "under-test", "nearMetres": 2.0}}}}),
    "worldexplorer": keys("worldexplorer", {{"depth": {{"method": "model", "backend": "under-test"}}}}),
    "crd": json.dumps(crd("SceneJob", built_in=True)["spec"]["versions"][0]).count('"under-test"'),
}}
from scenewright_stages.backends.depth.interface import DEPTH
from scenewright_stages.backends.runtime.loading import load
import numpy as np
answer["depth"] = float(load(DEPTH, "under-test").estimate(np.zeros((4, 6, 3), np.float32)).depth.max())
print(json.dumps(answer))
"""
NOVA = """
import numpy as np
from scenewright_stages.backends.depth.interface import DepthEstimate, check_depth_estimate
from scenewright_stages.backends.runtime.loading import WeightlessBackend

class NovaDepth(WeightlessBackend):
    def estimate(self, srgb, field_of_view_degrees=None, provided=None):
        ones = np.ones(srgb.shape[:2], np.float32)
        return check_depth_estimate(DepthEstimate(7 * ones, ones, None, True), *ones.shape)
"""


@pytest.mark.parametrize("scale", ["metric", "relative"])
@pytest.mark.process
def test_a_new_backend_is_its_file_and_its_facts(tmp_path: Path, scale: str) -> None:
    """Every pipeline that asks for depth can name it at once; relative depth serves no world, and keeps its fields."""
    (tmp_path / "nova.py").write_text(NOVA)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{NEW_BACKEND.format(scale=scale)}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["vistadream"] != "refused" and answer["depth"] == 7.0
    assert (answer["nearMetres"] == "refused") == (scale == "metric")
    assert (answer["worldexplorer"] == "refused") == (scale == "relative")
    assert answer["crd"] == (2 if scale == "metric" else 1)


def test_the_new_backend_is_not_there_without_its_facts() -> None:
    assert not accepted(DepthParams, backend="under-test")


# --- licences of methods without weights


@pytest.fixture
def formula(monkeypatch: pytest.MonkeyPatch) -> BackendFacts:
    """The classic prior, as if it were somebody's method for research only."""
    facts = registry.backend("depth", "classic")
    terms = Formula("Haze 2031", "haze-nc", "https://example.org/haze", non_commercial=True)
    restricted = replace(facts, formula=terms)
    everything = tuple(restricted if each is facts else each for each in registry.backends())
    monkeypatch.setattr(registry, "_built_in", lambda: everything)
    return restricted


def test_a_restricted_method_needs_its_licence_accepted_and_is_recorded(formula: BackendFacts) -> None:
    choice = BackendChoice("depth", ("classic",))
    with pytest.raises(LicenceNotAccepted, match="the method Haze 2031 is under the licence haze-nc"):
        licensed_weights(choice, ())
    assert licensed_weights(choice, ["haze-nc"]) == ()
    with pytest.raises(LicenceNotAccepted):
        load(DEPTH, "classic", ModelContext(options={"near_metres": 3.0}))
    context = ModelContext(options={"near_metres": 3.0}, accepted_licences=frozenset({"haze-nc"}))
    record = load(DEPTH, "classic", context).record
    assert (record.licence, record.non_commercial) == ("haze-nc", True)
    assert record.use().licence == "haze-nc"
