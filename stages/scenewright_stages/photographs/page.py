"""The report page of a data set: its content as plain data, and the rendering.

`photographs.overview` fills most of it from the records of a run; this module reads no records and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scenewright_stages.photographs.browse import Browser
from scenewright_stages.report.charts import Distribution, LightPoint
from scenewright_stages.report.data import NextStep, Parameter
from scenewright_stages.report.page import render_page
from scenewright_stages.report.pictures import Picture

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class StageRow:
    """One stage of the run.

    Attributes:
        done, failed, rejected, skipped: samples, in the words of the terminal: a skipped one lacks what it reads.
        seconds: total time in the stage's code, over all samples.
        wall_seconds: from start to end of its processes, as in the terminal and the summary.
        not_selected: samples that are not up to date and that the run did not select.
        per_second: throughput while the stage ran; None if there are too few samples.
        gpu_seconds: total time that samples held a GPU.
    """

    name: str
    title: str
    done: int
    failed: int
    rejected: int
    skipped: int
    seconds: float
    wall_seconds: float = 0.0
    not_selected: int = 0
    per_second: float | None = None
    gpu_seconds: float = 0.0


@dataclass(frozen=True)
class Reason:
    """A reason why samples are not in the data set: their number, and some names."""

    reason: str
    stage: str
    count: int
    samples: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Pair:
    """Before and after of one sample."""

    sample: str
    before: Picture
    after: Picture
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """The worst samples by one measure, the worst first."""

    title: str
    note: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Credit:
    """A backend that served a capability: number of samples, weights and licence."""

    capability: str
    backend: str
    weights: str
    licence: str
    count: int
    note: str = ""


@dataclass(frozen=True)
class Card:
    """An image with facts about it."""

    title: str
    picture: Picture
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Images of one kind, shown side by side."""

    title: str
    note: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Table:
    """A table of counts; the first column holds names."""

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class DatasetData:
    """Content of a data set's page. Empty parts are omitted.

    Attributes:
        counts: number of samples by how they ended, such as ``("done", 11880)``.
        lights: a selection of `light_count` of them.
        browser: the cards that can be filtered.
        ranges: name and range of what has too few or too equal values for a chart.
        next_steps: what to do with the result.
    """

    title: str
    pipeline: str
    spec_hash: str
    duration: float
    counts: tuple[tuple[str, int], ...]
    subtitle: str = ""
    pairs: tuple[Pair, ...] = ()
    reasons: tuple[Reason, ...] = ()
    lights: tuple[LightPoint, ...] = ()
    light_count: int = 0
    distributions: tuple[Distribution, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    tables: tuple[Table, ...] = ()
    gates: tuple[Gate, ...] = ()
    stages: tuple[StageRow, ...] = ()
    credits: tuple[Credit, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    warnings: tuple[str, ...] = ()
    browser: Browser | None = None
    ranges: tuple[tuple[str, str], ...] = ()
    next_steps: tuple[NextStep, ...] = ()


def render_dataset(data: DatasetData) -> str:
    """The page of a data set as HTML text (UTF-8)."""
    stylesheet = (_TEMPLATES / "dataset.css").read_text(encoding="utf-8")
    script = (_TEMPLATES / "browse.js").read_text(encoding="utf-8")
    scripts = [script] if data.browser is not None else []
    return render_page(
        _TEMPLATES / "dataset.html.j2", data, scripts, dataset_stylesheet=stylesheet, browse_script=script
    )
