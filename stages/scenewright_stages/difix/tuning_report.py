"""Report page of a TuningRun: how much the tuned fixer gains over the render and over filters, and where it loses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.contract.results import total_time
from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.difix.evaluate import METHOD, STRIP_GAP
from scenewright_stages.difix.fixer_params import FixerParams
from scenewright_stages.report.data import Failure, NextStep, Parameter, State
from scenewright_stages.report.page import render_page
from scenewright_stages.report.pictures import Picture, photograph
from scenewright_stages.report.rows import failures_of, job_name, parameter_rows, state_of, warnings_of
from scenewright_stages.vision.imaging.colour import unit_from_uint8
from scenewright_stages.vision.types import Uint8Array

LAST_STAGE = "evaluate"
_PAGE = Path(__file__).parent / "templates" / "tuning.html.j2"
_STRIPS = (("strips", "Pairs from all test groups"), ("worst", "The pairs with the least gain"))
_METHODS = {
    METHOD: "the fixer of this run, with the checkpoint that was best on validation pairs",
    "identity": "the render as it is: what there is to improve",
    "gaussian": "the render, blurred; strength {strength:g} is the sigma in pixels",
    "nlm": "non-local means, a classical filter against noise; strength {strength:g} of OpenCV",
    "fill_and_paste": "thin places filled from around them, then {strength:.0%} of the moved reference blended in",
}
"""What each method of the table is. Filters have the strength that is best on training pairs."""


@dataclass(frozen=True)
class TuningPage:
    """Content of the page. Parts of stages that have not run are empty.

    Attributes:
        title: the run's name.
        numbers: as in ``eval/metrics.json``.
        methods: name and explanation, the tuned fixer first.
        rows: name and numbers of all pairs and of each group.
        strips: heading and pictures.
    """

    title: str
    pipeline: str
    state: State
    spec_hash: str
    duration: float
    subtitle: str = ""
    warnings: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    numbers: Mapping[str, Any] | None = None
    methods: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    curve: Picture | None = None
    strips: tuple[tuple[str, tuple[Picture, ...]], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    next_steps: tuple[NextStep, ...] = ()

    @property
    def has_lpips(self) -> bool:
        """Whether LPIPS was measured."""
        return self.numbers is not None and "lpips" in self.numbers["all"]["methods"][METHOD]


class TuningReporter(Reporter):
    """Makes ``report.html`` of TuningRuns."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """The page of the run."""
        return render_page(_PAGE, tuning_page(outcome, job))

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """A run has one sample only."""
        return self.sample_page(outcomes[0], job)


def tuning_page(outcome: SampleOutcome, job: Mapping[str, Any]) -> TuningPage:
    """Everything on the page; of an unfinished run, what exists so far."""
    params = FixerParams.model_validate(job.get("spec", {}).get("fixer") or {})
    files = outcome.files
    numbers = json.loads(files[LAST_STAGE, "metrics"]().read_text()) if (LAST_STAGE, "metrics") in files else None
    return TuningPage(
        title=job_name(job),
        pipeline="Fixer tuning",
        state=state_of(outcome),
        spec_hash=str(job.get("workHash", "")),
        duration=total_time(outcome.times().values()).wall_seconds,
        subtitle="" if numbers is None else _subtitle(numbers),
        warnings=warnings_of(outcome),
        failures=tuple(failures_of(outcome)),
        numbers=numbers,
        methods=() if numbers is None else tuple(_methods(numbers)),
        rows=() if numbers is None else (("all", numbers["all"]), *numbers["groups"].items()),
        curve=_curve(files["tune", "curve"]()) if ("tune", "curve") in files else None,
        strips=() if numbers is None else tuple(_strips(outcome, numbers)),
        parameters=tuple(parameter_rows(params, FixerParams())),
        next_steps=(
            NextStep("Repair a scene with it: in a SceneJob,", f"difix: {{tuningRun: {{name: {job_name(job)}}}}}"),
            NextStep("Train for longer:", f"--set steps={2 * params.steps}"),
        ),
    )


def _subtitle(numbers: Mapping[str, Any]) -> str:
    gain = numbers["all"]["gain_over"]["identity"]
    return (
        f"{gain['mean']:+.2f} dB over the render ({gain['low']:+.2f} to {gain['high']:+.2f}) on {numbers['pairs']} "
        f"pairs of groups that it has never seen. Best checkpoint: {numbers['checkpoint']}."
    )


def _methods(numbers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, words in _METHODS.items():
        if name in numbers["all"]["methods"]:
            yield name, words.format(strength=numbers["baselines"].get(name, 0.0))


def _curve(path: Path) -> Picture:
    return photograph(unit_from_uint8(_read(path)), "Loss of training and validation by step", "Loss by step")


def _strips(outcome: SampleOutcome, numbers: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Picture, ...]]]:
    """The strips, cut from the stacked images that the evaluation wrote."""
    for name, title in _STRIPS:
        stacked = _read(outcome.files[LAST_STAGE, name]())
        pictures, top = [], 0
        for row in numbers["shown"][name]:
            cut = stacked[top : top + row["height"], : row["width"]]
            caption = f"{row['pair']}: {row['gain']:+.2f} dB"
            pictures.append(photograph(unit_from_uint8(np.ascontiguousarray(cut)), caption, caption))
            top += row["height"] + STRIP_GAP
        yield title, tuple(pictures)


def _read(path: Path) -> Uint8Array:
    pixels = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1])
