"""The page in a real Chromium: accessibility, keyboard, changes, outages, markup that must not run, and a whole run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from browser_fixtures import chromium
from lab_site import Site, serving, write_object
from playwright.sync_api import Browser, Page, expect
from test_security import HOSTILE

from scenewright_lab.settings import Settings

__all__ = ["chromium"]
ROOT = Path(__file__).parents[3]
AXE = ROOT / "tests" / "support" / "axe"
WIDTHS = ((1280, "light"), (390, "dark"))
sys.path.insert(0, str(ROOT / "tools"))

Serve = Callable[..., Site]


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, installed by its lock file into the cache of built tools."""
    import build_viewer

    digest = hashlib.sha256((AXE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path.home() / ".cache" / "scenewright" / f"axe-{digest}"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        tools = build_viewer.find_node()
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(AXE / name, folder / name)
        command = [*tools.npm, "ci", "--silent"]
        subprocess.run(command, cwd=folder, env=tools.environment, check=True, timeout=300)
    return script.read_text(encoding="utf-8")


def everything(root: Path) -> dict[str, str]:
    """Addresses of all pages of a folder with something on each."""
    lost = [{"sample": "sample0", "stage": "render", "reason": "ContractNotMet", "message": "constant depth"}]
    write_object(root, "scenes", samples=60, failures=lost, warnings=["a warning"])
    stopped = write_object(root, "stopped") / ".scenewright" / "runs" / "20270101T000000Z-bbbbbbbb-0001"
    stopped.mkdir()
    tuned = write_object(root, "tuned", kind="TuningRun")
    (tuned / "loss.csv").write_text("step,loss\n" + "\n".join(f"{step},{1 / step}" for step in range(1, 50)))
    (tuned / "eval").mkdir()
    (tuned / "eval" / "metrics.json").write_text(
        '{"all": {"methods": {"tuned": {"psnr": 26.0, "ssim": 0.8}}}, "pairs": 3}'
    )
    return {
        "overview": "/",
        "object": "/objects/scenes",
        "interrupted": "/objects/stopped",
        "samples": "/samples/scenes",
        "gallery": "/gallery",
        "tuning": "/tuning",
        "models": "/models",
        "new": "/new",
        "form": "/new/scene-from-a-photograph",
        "error": "/objects/none",
    }


def open_page(browser: Browser, width: int = 1280, scheme: str = "light") -> Page:
    # The checker is injected as a script, which the page's policy rightly forbids to all others.
    context = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme=scheme,
        bypass_csp=True,  # type: ignore[arg-type]
    )
    return context.new_page()


@pytest.mark.slow
def test_no_page_has_a_serious_accessibility_finding_or_is_wider_than_a_phone(
    tmp_path: Path, serve: Serve, chromium: Browser, axe: str
) -> None:
    pages = everything(tmp_path)
    site = serve()
    found = []
    for width, scheme in WIDTHS:
        page = open_page(chromium, width, scheme)
        # Narrow and dark, every page is looked at; wide and light, those whose layout differs.
        shown = pages if width < 500 else {name: pages[name] for name in ("overview", "object", "form", "tuning")}
        for name, path in shown.items():
            page.goto(site.url + path)
            for details in page.query_selector_all("details"):
                details.evaluate("each => { each.open = true; }")
            page.evaluate(axe)
            result = page.evaluate("axe.run(document, {iframes: false})")
            grave = [each for each in result["violations"] if each["impact"] in ("serious", "critical")]
            found += [(name, width, each["id"], each["nodes"][0]["html"][:160]) for each in grave]
            if page.evaluate("document.documentElement.scrollWidth") > width:
                found.append((name, width, "wider than the window", ""))
        page.context.close()
    assert not found, found


def test_the_checker_finds_a_page_that_is_wrong(chromium: Browser, axe: str) -> None:
    page = open_page(chromium)
    page.set_content("<html><body><img src='x'><input><p style='color:#999;background:#aaa'>grey</p></body></html>")
    page.evaluate(axe)
    wrong = {each["id"] for each in page.evaluate("axe.run()")["violations"]}
    assert {"image-alt", "label", "color-contrast"} <= wrong
    page.context.close()


def test_everything_is_reached_by_keyboard_alone(tmp_path: Path, serve: Serve, chromium: Browser) -> None:
    everything(tmp_path)
    site = serve()
    page = open_page(chromium)
    page.goto(site.url)

    def tab_to(words: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.innerText || document.activeElement.name || ''").strip() == words:
                return
        pytest.fail(f"{words} is not reached")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to("stopped")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("stopped")
    tab_to("Continue")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is seen"
    page.goto(site.url)
    tab_to("New")
    page.keyboard.press("Enter")
    page.wait_for_url("**/new")
    tab_to("A scene from one photograph")
    page.keyboard.press("Enter")
    page.wait_for_url("**/new/scene-from-a-photograph")
    expect(page.locator("h1")).to_have_text("A scene from one photograph")
    tab_to("name")
    page.keyboard.type("x")
    tab_to("Look at the manifest")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Choose a file")
    page.context.close()


def test_nothing_hostile_runs_and_reports_reach_nothing(tmp_path: Path, serve: Serve, chromium: Browser) -> None:
    script = (
        "<p id=out></p><script>let told='';"
        "try{told+=parent.document.title}catch(e){told+='no-parent '}"
        "try{told+=document.cookie}catch(e){told+='no-cookie '}"
        "try{localStorage.x=1;told+='storage'}catch(e){told+='no-storage '}"
        "try{top.hacked=1;told+='top'}catch(e){told+='no-top '}"
        "fetch('/').then(()=>out.textContent=told+'fetched',()=>out.textContent=told+'no-fetch')</script>"
    )
    for number, text in enumerate(HOSTILE):
        lost = [{"sample": text, "stage": text, "reason": text, "message": text}]
        write_object(tmp_path, f"hostile{number}", title=text, failures=lost, sample=text, warnings=[text])
    (tmp_path / "hostile0" / "report.html").write_text(script)
    site = serve()
    page = open_page(chromium)
    paths = [
        "/",
        "/gallery",
        *(f"/{room}/hostile{each}" for each in range(len(HOSTILE)) for room in ("objects", "samples")),
    ]
    for path in paths:
        page.goto(site.url + path)
        assert page.evaluate("window.hacked === undefined"), path
    page.goto(site.url + "/objects/hostile0")
    frame = page.frame_locator("iframe.report")
    expect(frame.locator("#out")).to_have_text("no-parent no-cookie no-storage no-top no-fetch", timeout=10_000)
    assert page.evaluate("window.hacked === undefined")
    page.context.close()


def test_changes_appear_by_themselves_and_an_outage_is_said(tmp_path: Path, chromium: Browser) -> None:
    write_object(tmp_path, "first")
    page = open_page(chromium)
    with serving(Settings(target=str(tmp_path))) as site:
        page.goto(site.url)
        page.get_by_label("Words").fill("typed")
        write_object(tmp_path, "second")
        begun = time.monotonic()
        expect(page.locator("#list")).to_contain_text("second", timeout=4000)
        assert time.monotonic() - begun < 2.0
        expect(page.get_by_label("Words")).to_have_value("typed")
        expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#offline")).to_be_visible(timeout=8000)
    write_object(tmp_path, "third")
    with serving(Settings(target=str(tmp_path)), port=site.port):
        expect(page.locator("#offline")).to_be_hidden(timeout=8000)
        expect(page.locator("#list")).to_contain_text("third", timeout=8000)
    page.context.close()


def test_new_pictures_appear_beside_a_report_that_stays_as_it_was_turned(
    tmp_path: Path, serve: Serve, chromium: Browser
) -> None:
    folder = write_object(tmp_path, "one")
    manifest, published = folder / "manifest.jsonl", folder / ".scenewright" / "published.json"
    rows = manifest.read_text()
    manifest.write_text("")
    page = open_page(chromium)
    page.goto(serve().url)
    page.get_by_role("link", name="one", exact=True).click()
    report = page.locator("iframe.report")
    report.evaluate("each => { each.dataset.turned = 'yes'; }")
    expect(page.locator("#result .strip")).to_have_count(0)
    manifest.write_text(rows)
    published.write_text(published.read_text() + " ")
    expect(page.locator("#result .strip img")).to_have_count(2, timeout=15_000)
    expect(report).to_have_attribute("data-turned", "yes")
    page.context.close()


@pytest.mark.slow
def test_from_an_empty_folder_to_a_result_by_clicks(tmp_path: Path, serve: Serve, chromium: Browser) -> None:
    site = serve(tmp_path / "results")
    page = open_page(chromium)
    page.goto(site.url)
    page.get_by_role("link", name="Start from an example").click()
    page.get_by_role("link", name="A scene from one photograph").click()
    page.get_by_label("Name", exact=True).fill("china")
    page.get_by_label("mode", exact=True).select_option("noOutpaint")
    page.get_by_label("max resolution", exact=True).fill("64")
    page.get_by_label("File", exact=True).set_input_files(str(ROOT / "examples" / "inputs" / "china.jpg"))
    page.get_by_role("button", name="Look at the manifest").click()
    assert "mode: noOutpaint" in page.locator("textarea").input_value()
    assert "scenewright run .scenewright-lab/china.yaml" in page.locator("pre").inner_text()
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#head .pill")).to_have_text("Complete", timeout=120_000)
    expect(page.locator("iframe.report")).to_be_visible(timeout=10_000)
    assert (tmp_path / "results" / "china" / "china" / "gf.ply").is_file()
    page.goto(f"{site.url}/gallery")
    expect(page.locator(".card h3")).to_have_text("china")
    page.context.close()
