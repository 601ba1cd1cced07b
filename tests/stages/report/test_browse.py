"""Browsing a data set: what the cards hold, how they are chosen, and that thousands of them are quick."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser as Chromium
from test_report_browser import visit

from scenewright_stages.photographs.browse import Entry, Look, browser, outline, representative
from scenewright_stages.photographs.page import DatasetData, render_dataset

HOSTILE = "</script><img src=x onerror='window.hacked=1'>"


def picture(folder: Path, name: str, value: int = 90, side: int = 64) -> Path:
    path = folder / f"{name}.png"
    noise = np.random.default_rng(value).integers(0, 40, (side, side, 3), dtype=np.uint8)
    cv2.imwrite(str(path), noise + np.uint8(value))
    return path


def look_at(path: Path, words: str = "input", mask: Path | None = None) -> Look:
    return Look(lambda: path, words, None if mask is None else lambda: mask)


def entries(folder: Path, count: int) -> list[Entry]:
    """Cups of four sources in two splits, the odd ones degraded; every tenth failed."""
    look = look_at(picture(folder, "any"))
    found = []
    for number in range(count):
        failed = number % 10 == 9
        facets = {
            "State": "failed" if failed else "done",
            "Split": "val" if number % 5 == 0 else "train",
            "Class": "cup" if number % 3 else "bowl",
            "Source": f"cup{number * 4 // count}",
            "Augmentation": "degraded" if number % 2 else "none",
        }
        found.append(Entry(f"picture {number:04d}", facets, () if failed else (look,), f"train/{number}.png"))
    return found


def page(cards: list[Entry], title: str = "cups") -> str:
    return render_dataset(DatasetData(title, "Reference object", "", 1.0, (("done", 1),), browser=browser(cards)))


def test_every_beginning_of_the_choice_shows_all_values_where_the_first_dozen_shows_one_source(tmp_path: Path) -> None:
    every = entries(tmp_path, 400)

    def values(shown: list[Entry], facet: str) -> set[str]:
        return {entry.facets[facet] for entry in shown}

    assert values(every[:24], "Source") == {"cup0"}, "the baseline repeats itself"
    chosen = representative(every)
    for facet in ("Source", "Split", "Class", "Augmentation"):
        assert values(chosen[:24], facet) == values(every, facet), facet
    assert sorted(entry.title for entry in chosen) == [entry.title for entry in every]
    assert representative(every[::-1]) == chosen, "the order of the input does not matter"
    assert all(entry.looks for entry in chosen[:360])


def test_counts_are_of_the_whole_data_set_even_if_a_choice_is_shown(tmp_path: Path) -> None:
    packed = browser(entries(tmp_path, 100), most_pictures=30)
    assert packed is not None
    assert (len(packed.cards), packed.total) == (30, 100)
    assert dict(packed.facets)["State"] == (("done", 90), ("failed", 10))


def test_the_outline_follows_the_mask_through_holes() -> None:
    mask = np.zeros((100, 200), np.bool_)
    mask[20:80, 40:160] = True
    mask[40:60, 80:120] = False
    drawn = outline(mask, 100, 50)
    assert drawn.count("M") == drawn.count("Z") == 2, "the outer border and the hole"
    assert "M20 10" in drawn
    assert outline(np.zeros_like(mask), 100, 50) == ""


@pytest.fixture
def masked_page(tmp_path: Path) -> str:
    """Twenty done samples with an outlined mask each."""
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), np.pad(np.full((32, 32), 255, np.uint8), 16))
    look = look_at(picture(tmp_path, "masked"), mask=mask)
    cards = entries(tmp_path, 20)
    return page([Entry(each.title, {**each.facets, "State": "done"}, (look,), each.path) for each in cards])


@pytest.mark.process
def test_cards_filter_link_and_drop_their_outlines(masked_page: str, browser: Chromium, tmp_path: Path) -> None:
    with visit(browser, masked_page, tmp_path) as seen:
        cards = seen.page.locator("[data-list] > li")
        assert cards.count() == 20
        assert seen.page.locator("[data-list] .outline").first.is_visible()
        seen.page.uncheck("[data-overlays]")
        assert not seen.page.locator("[data-list] .outline").first.is_visible()
        seen.page.select_option("label:has-text('Split') select", label="val (4)")
        assert cards.count() == 4
        seen.page.fill("input[type=search]", "0010")
        assert cards.count() == 1
        assert cards.locator("a").get_attribute("href") == "train/10.png"
        cards.locator("button.zoom").click()
        assert seen.page.is_visible("#lightbox img")
        assert seen.complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_card_is_wider_than_the_screen(browser: Chromium, tmp_path: Path, width: int) -> None:
    look = look_at(picture(tmp_path, "any"))
    long = "a_very_long_name_without_any_spaces_" * 5
    cards = [Entry(long + split, {"Source": long, "Split": split}, (look,), f"{long}.png") for split in ("a", "b")]
    with visit(browser, page(cards, long), tmp_path, width=width) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_markup_in_titles_and_facets_stays_text(browser: Chromium, tmp_path: Path) -> None:
    look = look_at(picture(tmp_path, "any"), HOSTILE)
    cards = [Entry(HOSTILE, {"Source": HOSTILE, "Split": split}, (look,), "a.png") for split in ("a", "b")]
    with visit(browser, page(cards), tmp_path) as seen:
        assert seen.page.locator("[data-list] > li").count() == 2
        assert seen.page.inner_text("[data-list] .name >> nth=0") == HOSTILE
        assert seen.page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_two_thousand_images_open_and_filter_at_once(browser: Chromium, tmp_path: Path) -> None:
    looks = [look_at(picture(tmp_path, f"p{value}", value, 512)) for value in range(8)]
    every = enumerate(entries(tmp_path, 2000))
    cards = [Entry(each.title, each.facets, (looks[number % 8],)) for number, each in every]
    html = page(cards)
    assert len(html) > 5e6, "pictures are embedded"
    with visit(browser, html, tmp_path) as seen:
        opened = seen.page.evaluate("performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart")
        filtered = seen.page.evaluate("""() => {
            const select = document.querySelectorAll("select[data-facet]")[3];
            const began = performance.now();
            select.value = "2";
            select.dispatchEvent(new Event("input", { bubbles: true }));
            document.body.offsetHeight;
            return performance.now() - began;
        }""")
        assert seen.page.inner_text("[data-status]") == "500 match"
    print(f"{len(html) / 1e6:.1f} MB: opened in {opened} ms, filtered in {filtered:.0f} ms")
    assert opened < 2000
    assert filtered < 200
