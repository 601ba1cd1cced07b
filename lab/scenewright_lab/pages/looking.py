"""The pages that show: overview, object, samples, gallery, tuning runs and models."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from scenewright.api.raw import Json
from scenewright.api.status import ACTIVE
from scenewright.cli.commands.models import backend_rows
from scenewright_lab.actions.forms import as_yaml
from scenewright_lab.pages.rendering import PHASES, Lab, entry_of, lab_of, page, person_of
from scenewright_lab.sources.interface import Entry, NotFound, Picture, Refused, Unavailable
from scenewright_stages.backends.runtime.cache.weights import default_cache_dir
from scenewright_stages.contract import layout

OBJECTS_PER_PAGE = 50
CARDS_PER_PAGE = 60
ROWS_PER_PAGE = 48
DAY = 86_400.0
HOURS = 24
MOST_CURVE_POINTS = 400
_CURVE_BYTES = 8 << 20
_DOWNLOADS = ("manifest.jsonl", "metadata.jsonl", "croissant.json", "summary.json", "dropped.csv", "report.html")


@dataclass(frozen=True)
class Window:
    """One page of a list: what to show, how many there are, and the numbers of the neighbours; 0 for none."""

    shown: Sequence[Any]
    total: int
    number: int
    before: int
    after: int

    @classmethod
    def of(cls, found: Sequence[Any], request: Request, each: int) -> Window:
        """The page that a request asks for."""
        number = page_number(request)
        last = max(1, -(-len(found) // each))
        number = min(number, last)
        shown = found[(number - 1) * each : number * each]
        return cls(shown, len(found), number, number - 1, number + 1 if number < last else 0)


def page_number(request: Request) -> int:
    """The page that a request asks for, from 1."""
    wanted = request.query_params.get("page", "1")
    return max(1, int(wanted)) if wanted.isdecimal() and len(wanted) < 8 else 1


def matching(entries: Iterable[Entry], request: Request) -> list[Entry]:
    """The entries that the filters of a request let through."""
    asked = request.query_params
    words = asked.get("words", "").lower().split()
    least = asked.get("psnr", "")
    tests: list[Callable[[Entry], bool]] = [
        lambda each: all(word in f"{each.id} {each.view.pipeline} {each.view.name}".lower() for word in words)
    ]
    if phase := asked.get("phase", ""):
        tests.append(lambda each: each.view.phase == phase or (phase == "Running" and each.view.phase in ACTIVE))
    if pipeline := asked.get("pipeline", ""):
        tests.append(lambda each: each.view.pipeline == pipeline)
    if label := asked.get("label", ""):
        tests.append(lambda each: label in label_texts(each))
    if licence := asked.get("licence", ""):
        tests.append(lambda each: licence in (each.licences or ("none",)))
    if least.replace(".", "", 1).isdecimal():
        tests.append(lambda each: each.psnr is not None and each.psnr >= float(least))
    return [each for each in entries if all(test(each) for test in tests)]


def label_texts(entry: Entry) -> list[str]:
    """The labels of an object as ``key=value``."""
    return [f"{key}={value}" for key, value in entry.labels.items()]


@dataclass(frozen=True)
class Totals:
    """Numbers of the overview: objects by phase, samples and GPU seconds by hour of the last day, oldest first."""

    phases: dict[str, int]
    samples: list[int] = field(default_factory=lambda: [0] * HOURS)
    gpu_seconds: float = 0.0

    @classmethod
    def of(cls, entries: Iterable[Entry], now: float) -> Totals:
        """Counts the entries."""
        every = list(entries)
        held = Counter("Running" if each.view.phase in ACTIVE else each.view.phase for each in every)
        samples, gpu = [0] * HOURS, 0.0
        for at, done, seconds in (ended for each in every for ended in each.ended):
            hour = int((now - at) // 3600)
            if 0 <= hour < HOURS:
                samples[HOURS - 1 - hour] += done
                gpu += seconds
        return cls({phase: held[phase] for phase in PHASES if held[phase]}, samples, gpu)


async def overview(request: Request) -> Response:
    """Objects by state, what runs, what waits and why, and the last day."""
    lab, person = lab_of(request), person_of(request)
    entries = await lab.source.entries(person)
    return page(
        request,
        "overview.html",
        totals=Totals.of(entries, time.time()),
        running=[each for each in entries if each.view.phase in ACTIVE][:20],
        waiting=[each for each in entries if each.view.phase == "Waiting"][:20],
        window=Window.of(matching(entries, request), request, OBJECTS_PER_PAGE),
        gpus=await lab.source.gpus(person),
        asked=dict(request.query_params),
        pipelines=sorted({each.view.pipeline for each in entries if each.view.pipeline}),
        phases=("Running", *PHASES[3:]),
        now=time.time(),
        most=OBJECTS_PER_PAGE,
    )


async def show_object(request: Request) -> Response:
    """One object: stages, numbers, failures with reasons, events, logs, and its report in place."""
    lab, person, entry = lab_of(request), person_of(request), await entry_of(request)
    offers = await lab.actions.offers(person, entry) if lab.actions else ()
    logs, events, problem = [], [], ""
    try:
        logs, events = await lab.source.logs(person, entry), await lab.source.events(person, entry)
    except (Unavailable, NotFound, Refused) as error:
        problem = str(error)
    printed = lab.actions.output_of(entry) if lab.actions else None
    try:
        manifest = as_yaml(await lab.source.document(person, entry))
    except (NotFound, Unavailable):
        manifest = ""
    downloads = await _present(lab, entry, _DOWNLOADS)
    return page(
        request,
        "object.html",
        entry=entry,
        view=entry.view,
        offers=offers,
        logs=[*([printed] if printed and printed.text else []), *logs],
        logs_problem=problem,
        events=events,
        manifest=manifest,
        downloads=downloads,
        report=layout.REPORT if layout.REPORT in downloads else "",
        waits_for_choice=bool(
            lab.actions and lab.actions.pick_command(entry) and entry.view.reason == "AwaitingSelection"
        ),
        now=time.time(),
    )


async def _present(lab: Lab, entry: Entry, keys: Sequence[str]) -> dict[str, int]:
    """Sizes of those files that there are; none while the storage does not answer."""
    if not entry.uri:
        return {}

    async def size(key: str) -> int:
        try:
            return (await lab.files.head(entry.uri, key)).size
        except (NotFound, Unavailable):
            return -1

    sizes = await asyncio.gather(*(size(key) for key in keys))
    return {key: number for key, number in zip(keys, sizes, strict=True) if number >= 0}


async def samples(request: Request) -> Response:
    """The samples of one object, page by page, with a search over their records."""
    lab, entry = lab_of(request), await entry_of(request)
    words, number = request.query_params.get("words", "")[:200], page_number(request)
    found: Json = {"total": 0, "rows": []}
    for key in ("metadata.jsonl", layout.MANIFEST) if entry.uri else ():
        first = (number - 1) * ROWS_PER_PAGE
        try:
            _, content = await lab.files.ask(
                "rows", uri=entry.uri, key=key, first=first, count=ROWS_PER_PAGE, words=words
            )
        except NotFound:
            continue
        found = json.loads(content)
        break
    after = number + 1 if number * ROWS_PER_PAGE < found["total"] else 0
    window = Window(found["rows"], found["total"], number, number - 1, after)
    downloads = await _present(lab, entry, _DOWNLOADS)
    return page(request, "samples.html", entry=entry, view=entry.view, window=window, words=words, downloads=downloads)


async def gallery(request: Request) -> Response:
    """Pictures of everything that has been made."""
    entries = await lab_of(request).source.entries(person_of(request))
    shown = [each for each in entries if each.pictures]
    cards: list[tuple[Entry, Picture, int]] = []
    for each in matching(shown, request):
        # A data set is one card; of a job with several scenes each is one.
        several = each.pictures if each.view.kind == "SceneJob" else each.pictures[:1]
        cards += [(each, picture, len(several)) for picture in several]
    return page(
        request,
        "gallery.html",
        window=Window.of(cards, request, CARDS_PER_PAGE),
        asked=dict(request.query_params),
        pipelines=sorted({each.view.pipeline for each in shown}),
        labels=sorted({text for each in shown for text in label_texts(each)})[:200],
        licences=sorted({licence for each in shown for licence in each.licences or ("none",)}),
    )


@dataclass(frozen=True)
class Curve:
    """One column of a tuning run's log as an SVG path in a box of 300 by 120, with its range."""

    name: str
    path: str
    low: float
    high: float
    last: float
    steps: int


async def tuning(request: Request) -> Response:
    """Tuning runs side by side: curves, quality, best checkpoint and evaluation strips."""
    lab = lab_of(request)
    entries = [each for each in await lab.source.entries(person_of(request)) if each.view.kind == "TuningRun"]
    window = Window.of(matching(entries, request), request, 12)
    runs = await asyncio.gather(*(_tuning_run(lab, each) for each in window.shown))
    return page(request, "tuning.html", window=window, runs=runs, asked=dict(request.query_params))


async def _tuning_run(lab: Lab, entry: Entry) -> Json:
    curves: list[Curve] = []
    metrics: Json = {}
    files = await _present(lab, entry, ("loss.csv", "eval/metrics.json", "eval/strips.png", "eval/report.html"))
    try:
        if "loss.csv" in files:
            curves = _curves((await lab.files.read(entry.uri, "loss.csv", 0, _CURVE_BYTES)).decode(errors="replace"))
        if "eval/metrics.json" in files:
            metrics = json.loads(await lab.files.read(entry.uri, "eval/metrics.json"))
    except (NotFound, Unavailable, ValueError):
        metrics = {}
    methods = (metrics.get("all") or {}).get("methods") or {}
    rows = [(name, each.get("psnr"), each.get("ssim")) for name, each in methods.items() if isinstance(each, dict)]
    rows = sorted(rows, key=lambda row: -(row[1] or 0.0))
    return {
        "entry": entry,
        "curves": curves,
        "methods": rows,
        "best": str(metrics.get("checkpoint", "")),
        "pairs": metrics.get("pairs"),
        "files": files,
    }


def _curves(text: str) -> list[Curve]:
    """The columns of a log whose first column is the step."""
    rows = list(csv.reader(io.StringIO(text)))
    head = rows[0] if rows else []
    found = []
    for column, name in enumerate(head[1:], start=1):
        points = [
            (float(row[0]), float(row[column])) for row in rows[1:] if len(row) > column and row[0] and row[column]
        ]
        points = points[:: max(1, len(points) // MOST_CURVE_POINTS)]
        if len(points) > 1:
            found.append(_curve(name.replace("_", " "), points))
    return found


def _curve(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    left, right = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    across, up = 300 / ((right - left) or 1.0), 110 / ((high - low) or 1.0)
    path = " ".join(f"{(x - left) * across:.1f},{115 - (y - low) * up:.1f}" for x, y in points)
    return Curve(name, path, low, high, points[-1][1], int(right))


async def models(request: Request) -> Response:
    """Weights with their licences, who uses them, and what the cache holds."""
    entries = await lab_of(request).source.entries(person_of(request))
    used = Counter(name for each in entries for name in each.backends)
    rows = await asyncio.to_thread(_model_rows)
    held = sum(row["bytes"] for row in rows if row.get("state") == "present" and row.get("bytes"))
    return page(request, "models.html", rows=rows, used=used, held=held, cache=str(default_cache_dir()))


@cache
def _row_names() -> tuple[str, ...]:
    return ("capability", "backend")


def _model_rows() -> list[Json]:
    return sorted(backend_rows(), key=lambda row: tuple(row[name] for name in _row_names()))
