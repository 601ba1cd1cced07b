"""The page's text: escaping, self-containment, what is said about results and gates."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_scenes import CAMERA, full_report, gradient_picture, three_clusters

from scenewright_stages.contract.records import Record, State
from scenewright_stages.contract.results import duration_text
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.report import assets
from scenewright_stages.report.charts import metres_text, number_text
from scenewright_stages.report.data import Failure, IndexData, IndexEntry, Link, Metric
from scenewright_stages.report.page import render_index
from scenewright_stages.report.pictures import thumbnail
from scenewright_stages.report.rows import timings
from scenewright_stages.scenes.page import SceneData, render_scene
from scenewright_stages.scenes.splats import SplatScene

ATTACK = '<b onclick="x">&\'</b></script>'
_ATTRIBUTES_THAT_LOAD = {"src", "href", "poster", "srcset", "data", "action", "formaction", "background"}


class Elements(HTMLParser):
    """Tags with their attributes, and the text that a person reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture
def with_splats(viewer_built: None) -> SceneData:
    return full_report(splats=SplatScene(three_clusters(), CAMERA, (CAMERA, CAMERA), 2.0))


def test_same_data_same_bytes(with_splats: SceneData) -> None:
    assert render_scene(with_splats) == render_scene(with_splats)


def test_nothing_outside_the_page_is_referred_to(with_splats: SceneData) -> None:
    page = Elements(render_scene(with_splats))
    loaded = [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in _ATTRIBUTES_THAT_LOAD
    ]
    outside = {value for value in loaded if not value.startswith(("data:", "#"))}
    assert outside == {"gf.ply"}
    assert any(value.startswith("data:video/mp4") for value in loaded)


def test_the_policy_names_scripts_by_hash_and_allows_no_other(with_splats: SceneData) -> None:
    page = Elements(render_scene(with_splats))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert scripts.count("'sha256-") == 2
    assert "unsafe-inline" not in scripts
    assert policy.startswith("default-src 'none'")


def test_every_text_from_outside_is_escaped() -> None:
    report = replace(
        full_report(ATTACK),
        pipeline=ATTACK,
        spec_hash=ATTACK,
        subtitle=ATTACK,
        warnings=(ATTACK,),
        failures=(Failure(ATTACK, ATTACK, ATTACK, ATTACK),),
        links=(Link(ATTACK, "a b/<u>.ply", ATTACK),),
        log=ATTACK,
    )
    html = render_scene(report)
    assert "<b " not in html
    assert "<u>" not in html
    assert Elements(html).text.count(ATTACK) >= 9


def test_configuration_survives_embedding(with_splats: SceneData) -> None:
    html = render_scene(with_splats)
    text = re.search(r"data-configuration>(.*?)</script>", html, re.S)
    assert text is not None
    configuration = json.loads(text[1])
    assert configuration["count"] == len(three_clusters())
    assert configuration["camera"]["worldFromCamera"][:4] == [1, 0, 0, 0]
    assert configuration["camera"]["focal"] == pytest.approx(CAMERA.focal, rel=1e-6)
    assert configuration["camera"]["principalPoint"] == [150, 100]


def test_warnings_and_failures_stand_before_the_result(with_splats: SceneData) -> None:
    html = render_scene(with_splats)
    places = [html.index(text) for text in ("No extra frame was added.", "ImageTooLarge", "data-splat-viewer")]
    assert places == sorted(places)


def test_empty_parts_leave_no_headings() -> None:
    bare = SceneData("name", "VistaDream", "failed", "ab12", 0.5)
    headings = [tag for tag, _ in Elements(render_scene(bare)).tags if tag in ("h2", "h3")]
    assert headings == []
    assert "h2" in [tag for tag, _ in Elements(render_scene(full_report())).tags]


@pytest.mark.parametrize(
    ("value", "better", "passes"),
    [
        (30.0, "higher", True),
        (29.99, "higher", False),
        (30.0, "lower", True),
        (30.01, "lower", False),
        (None, "higher", False),
        (math.nan, "higher", False),
        (math.nan, "lower", False),
        (1.0, "neither", None),
    ],
)
def test_gates(value: float | None, better: str, passes: bool | None) -> None:
    assert Metric("m", value, better=better, gate=30.0).passes is passes  # type: ignore[arg-type]


def test_a_missed_gate_is_said_in_words() -> None:
    def page(value: float) -> str:
        metrics = (Metric("Worst frame", value, "%", "lower", 4.0),)
        return Elements(render_scene(replace(full_report(), metrics=metrics))).text

    assert "misses ≤ 4.0 %" in page(5.1)
    assert "misses" not in page(3.9)


def test_assumptions_are_called_assumptions() -> None:
    assert "Assumption" in Elements(render_scene(full_report())).text


def test_changed_parameters_come_first_with_their_default() -> None:
    text = Elements(render_scene(full_report())).text
    assert "Set by you 1" in text
    assert "Defaults 1" in text
    assert text.index("mode") < text.index("noOutpaint") < text.index("Defaults 1") < text.index("Draws.")


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", "https://example.org/", "/etc/passwd", "../up", "a/../../b", "\\\\host"]
)
def test_links_out_of_the_folder_are_refused(href: str) -> None:
    with pytest.raises(ValueError, match="relative"):
        render_scene(replace(full_report(), links=(Link("x", href),)))
    with pytest.raises(ValueError, match="relative"):
        render_index(IndexData("j", "p", "h", 1, (IndexEntry("s", "done", href),)))


def test_thinned_scenes_say_so(viewer_built: None) -> None:
    scene = SplatScene(three_clusters(), CAMERA, limit=100)
    assert "100 splats of 600" in Elements(render_scene(full_report(splats=scene))).text
    whole = SplatScene(three_clusters(), CAMERA)
    assert "splats of" not in Elements(render_scene(full_report(splats=whole))).text


def test_a_missing_viewer_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(assets, "VIEWER_PATH", tmp_path / "viewer.js")
    assets.viewer_script.cache_clear()
    try:
        with pytest.raises(assets.ViewerNotBuiltError, match="build_viewer"):
            render_scene(full_report(splats=SplatScene(three_clusters(), CAMERA)))
        assert "<figure" in render_scene(full_report())
    finally:
        assets.viewer_script.cache_clear()


def test_the_overview_lists_trouble_first_with_reasons() -> None:
    picture = thumbnail(gradient_picture(), 30, "good one")
    entries = (
        IndexEntry("good", "done", "samples/good/report.html", picture),
        IndexEntry("lost", "missing"),
        IndexEntry("bad <i>", "failed", message="ImageTooLarge: 30000x30000"),
    )
    html = render_index(IndexData("job", "VistaDream", "ab12", 60, entries, counts=(("done", 1), ("failed", 1))))
    text = Elements(html).text
    assert text.index("ImageTooLarge") < text.index(" lost ") < text.index(" good ")
    assert "1 failed" in text
    assert "<i>" not in html


def test_numbers_as_people_read_them() -> None:
    assert [duration_text(s) for s in (0.42, 12.3, 59.6, 102.4, 7500)] == [
        "0.4 s",
        "12 s",
        "1 min 00 s",
        "1 min 42 s",
        "2 h 05 min",
    ]
    assert [metres_text(m) for m in (0.0523, 0.85, 12.44, 130.2)] == ["0.052 m", "0.850 m", "12.4 m", "130 m"]
    assert [number_text(v, 1) for v in (None, math.nan, 33.42)] == ["–", "–", "33.4"]
    assert number_text(180224, 0) == "180\u202f224"


@pytest.mark.parametrize(("record", "word"), [("rejected", "rejected"), ("skipped", "skipped"), ("started", "missing")])
def test_the_table_of_times_says_how_a_stage_ended_in_the_words_of_the_terminal(record: State, word: str) -> None:
    outcome = SampleOutcome(Sample("a"), {"pair": Record("a", "pair", "key", record)}, {})
    assert [timing.state for timing in timings(outcome)] == [word]
