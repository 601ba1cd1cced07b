"""The page of a data set: everything told, nothing executed, the same bytes for the same data."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from scenewright_stages.photographs.page import (
    Card,
    Credit,
    DatasetData,
    Gallery,
    Gate,
    Pair,
    Reason,
    StageRow,
    Table,
    render_dataset,
)
from scenewright_stages.report.charts import LightPoint, distribution, histogram_svg, sphere_svg
from scenewright_stages.report.pictures import photograph

HOSTILE = '<script>alert("x")</script>'


def page_data(name: str = "portraits") -> DatasetData:
    picture = photograph(np.random.default_rng(0).random((8, 8, 3), dtype=np.float32), f"{name} shown")
    pair = Pair(name, picture, picture, ("soft",))
    shown = distribution("Ambient", [0.1, 0.2, 0.2, 0.9])
    assert shown is not None
    return DatasetData(
        title=name,
        pipeline="Relighting",
        spec_hash="abc",
        duration=61.0,
        counts=(("done", 12000), ("rejected", 3), ("failed", 2)),
        subtitle="12,000 pairs",
        pairs=(pair,),
        reasons=(Reason("ImageTruncated", "segment", 2, (name,), f"{name} is cut"),),
        lights=(LightPoint(0.5, 0.5, 0.2),),
        light_count=12000,
        distributions=(shown,),
        galleries=(Gallery("Views", "As it was turned.", (Card(name, picture, ("tilt +6°",)),)),),
        tables=(Table("Leaks", "None may cross.", ("Group", "Number"), (("view", "6"), (name, "1"))),),
        gates=(Gate("Smallest persons", "Share of the picture", (pair,)),),
        stages=(StageRow("segment", "Find the person", 12000, 2, 3, 1, 600.0, per_second=17.5),),
        credits=(Credit("segment", "sam3", "facebook/sam3 main", "sam-license", 12000, name),),
    )


def test_counts_reasons_throughput_and_licences_are_reported() -> None:
    page = render_dataset(page_data())
    for text in (
        "12,000 done",
        "3 rejected",
        "ImageTruncated",
        "sam-license",
        "17.5",
        "0.050",
        "1 of 12,000 lights",
        "tilt +6°",
        "None may cross.",
        '<td class="number">6</td>',
    ):
        assert text in page, text


def test_the_table_of_stages_tells_rejected_from_skipped_as_the_terminal_does() -> None:
    table = render_dataset(page_data()).partition('id="stages-title"')[2].partition("</table>")[0]
    heads = re.findall(r"<th[^>]*>(.*?)</th>", table)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table)
    told = dict(zip(heads, cells, strict=True))
    assert (told["Done"], told["Failed"], told["Rejected"], told["Skipped"]) == ("12,000", "2", "3", "1")


def test_names_and_messages_are_text_and_nothing_is_loaded_from_anywhere() -> None:
    page = render_dataset(page_data(HOSTILE))
    assert HOSTILE not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', page)


def test_the_same_data_gives_the_same_bytes_and_other_data_does_not() -> None:
    assert render_dataset(page_data()) == render_dataset(page_data())
    assert render_dataset(replace(page_data(), duration=62.0)) != render_dataset(page_data())


def test_an_empty_data_set_has_a_page_too() -> None:
    page = render_dataset(DatasetData("none", "Relighting", "", 0.0, (("done", 0),)))
    assert "0 done" in page
    assert "The worst samples" not in page


def test_bars_are_as_high_as_their_counts_and_nothing_is_lost() -> None:
    values = np.random.default_rng(3).normal(0.5, 0.1, 500).tolist()
    shown = distribution("Ambient", values, bins=10)
    assert shown is not None
    assert sum(shown.counts) == 500
    assert (shown.low, shown.high) == (min(values), max(values))
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"', str(histogram_svg(shown)))]
    counts = [count for count in shown.counts if count]
    assert heights == pytest.approx([96 * count / max(counts) for count in counts], abs=0.06)


def test_one_value_and_none_are_no_special_cases() -> None:
    assert distribution("Sides", []) is None
    shown = distribution("Sides", [512, 512])
    assert shown is not None
    assert shown.counts == (2,)
    assert str(histogram_svg(shown)).count("<rect") == 1


def test_lights_lie_where_they_come_from() -> None:
    drawn = str(sphere_svg([LightPoint(1.0, 0.0, 0.0), LightPoint(0.0, 1.0, 1.0)]))
    places = re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)" r="2.6" fill-opacity="([\d.]+)"', drawn)
    assert [(float(x), float(y)) for x, y, _ in places] == [(120.0, 0.0), (0.0, -120.0)], "above is up"
    assert float(places[0][2]) > float(places[1][2]), "ambient light is fainter"
