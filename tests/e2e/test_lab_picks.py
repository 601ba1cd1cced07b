"""A person chooses on the web page what a run waits for, and the run goes on."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from lab_site import Site, serving
from toy_packages import AWAITING, COVERS, ToyJobs, installed_packages, scenewright, with_packages

from scenewright_lab.settings import Settings

pytestmark = pytest.mark.slow


def until(site: Site, path: str, words: str, seconds: float = 120.0) -> str:
    """The page once it has these words."""
    deadline = time.monotonic() + seconds
    while words not in (text := site.get(path).text) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert words in text, text
    return text


def test_choices_are_made_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = ToyJobs(tmp_path, str(tmp_path))
    jobs.write_input()
    cards, _ = jobs.manifests()
    assert scenewright("run", cards).returncode == AWAITING
    environment = with_packages(installed_packages())
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    with serving(Settings(target=str(tmp_path))) as site:
        name = re.search(r'href="/objects/([^"]+)">cards<', site.get("/").text)
        assert name is not None
        path = f"/objects/{name[1]}"
        assert "AwaitingSelection" in until(site, path, "Choose candidates")
        assert "3 samples wait" in site.get("/").text, "the overview says why it waits"
        for sample, cover in COVERS.items():
            page = until(site, f"/pick/{name[1]}", f'value="{sample}"')
            question = re.search(r'name="choice\.([a-z]+)"', page)
            assert question is not None
            refused = site.post(
                f"/pick/{name[1]}", {"csrf": token(page), "sample": sample, f"choice.{question[1]}": "no-such-option"}
            )
            assert refused.status == 422 and "no-such-option" in refused.text, refused.text
            form = {"csrf": token(page), "sample": sample, f"choice.{question[1]}": cover}
            taken = site.post(f"/pick/{name[1]}", form)
            assert taken.status == 303, re.findall(r"<p>(.*?)</p>", taken.text)
            until(site, path, "Retry what failed" if sample == "town" else "Choose candidates")
        # One view of the toys cannot be drawn.
        assert "SamplesFailed" in until(site, path, "SamplesFailed")


def token(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]
