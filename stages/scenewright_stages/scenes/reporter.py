"""What the reporters of the scene pipelines share: both pages, and everything that a scene has in any pipeline.

A pipeline's reporter derives from `ScenePages`. It says in class attributes where things are, and fills in what only
its scenes have: splats, measurements, further pictures.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from scenewright_stages.contract.backends import Evidence
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.report.data import Metric, NextStep
from scenewright_stages.report.pictures import Picture, photograph, thumbnail
from scenewright_stages.scenes.page import (
    SceneData,
    flight_video,
    index_entry,
    measured,
    render_scene,
    render_scenes,
    scene_facts,
)
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.types import Float32Array

ParamsT = TypeVar("ParamsT", bound=Params)
Files = Mapping[tuple[str, str], Callable[[], Path]]
"""Files of a sample by (stage, output), as in `SampleOutcome.files`."""
THUMBNAIL_SIDE = 320


class ScenePages(Reporter, Generic[ParamsT]):
    """Makes ``report.html`` of scenes.

    Attributes:
        title: name of the pipeline on the page.
        block: name of the pipeline's block in a spec; `params` is its type.
        last_stage: whose outputs are the result.
        links: output of the last stage, and its label.
        captions: of the pictures shown, by (stage, output).
        flight: caption of the video.
        change: how to change the result.
        own_evidence: basis of results by what is not a backend, by its recorded name.
    """

    title: ClassVar[str]
    block: ClassVar[str]
    params: type[ParamsT]
    last_stage: ClassVar[str]
    links: ClassVar[tuple[tuple[str, str], ...]]
    captions: ClassVar[Mapping[tuple[str, str], str]]
    flight: ClassVar[str]
    change: ClassVar[NextStep]
    own_evidence: ClassVar[Mapping[str, Evidence]] = {}

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """The page of one scene; for an unfinished scene, what exists so far."""
        return render_scene(self.scene(outcome, job))

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The overview of several scenes."""
        entries = (index_entry(outcome, self._thumbnail(outcome), self.index_metrics(outcome)) for outcome in outcomes)
        return render_scenes(job, self.title, entries, self.results)

    def scene(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> SceneData:
        """Everything on the page of one scene."""
        params = self.params.model_validate(job.get("spec", {}).get(self.block) or {})
        files, video = outcome.files, (self.last_stage, "video")
        data = scene_facts(
            outcome, job, self.title, self.last_stage, params, self.links, self.change, self.own_evidence, self.results
        )
        pictures = (
            photograph(read_png(files[key]()), caption, caption)
            for key, caption in self.captions.items()
            if key in files
        )
        data = replace(
            data,
            video=flight_video(files[video](), self.flight) if video in files else None,
            images=tuple(pictures),
            metrics=tuple(self.metrics(outcome)),
        )
        return self.completed(data, outcome, params)

    @abstractmethod
    def completed(self, data: SceneData, outcome: SampleOutcome, params: ParamsT) -> SceneData:
        """The page's content with what only this pipeline's scenes have."""

    @abstractmethod
    def metrics(self, outcome: SampleOutcome) -> Iterable[Metric]:
        """The measurements of a scene; none if its last stage is not done."""

    def index_metrics(self, outcome: SampleOutcome) -> Iterable[Metric]:
        """The measurements shown in the overview."""
        return self.metrics(outcome)

    @abstractmethod
    def cover(self, outcome: SampleOutcome) -> tuple[Float32Array, str] | None:
        """The picture that stands for a scene in the overview, (H, W, 3) sRGB, and what it is."""

    def result(self, outcome: SampleOutcome) -> Mapping[str, Any]:
        """The metrics of the last stage; empty if it is not done."""
        return measured(outcome, self.last_stage)

    def _thumbnail(self, outcome: SampleOutcome) -> Picture | None:
        found = self.cover(outcome)
        return None if found is None else thumbnail(found[0], THUMBNAIL_SIDE, f"{found[1]} {outcome.sample.id}")
