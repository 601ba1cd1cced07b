"""The page about pipelines of one's own: every command on it is run, and prints what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agreement import assert_numbers_agree
from toy_packages import COMMAND, install, with_packages

from scenewright_stages.contract import layout
from scenewright_stages.pipelines import GROUP

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "write-your-own-pipeline.md"
PACKAGE = ROOT / "examples" / "own-pipeline"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the commands need of the checkout, in a folder of its own."""
    shutil.copytree(PACKAGE, tmp_path / "examples" / PACKAGE.name)
    inputs = tmp_path / "examples" / "inputs"
    inputs.mkdir()
    shutil.copy(ROOT / "examples" / "inputs" / "china.jpg", inputs)
    return tmp_path


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Every command of the page, and what it shows below it."""
    for block in re.findall(r"^```console\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown.strip()


def run(command: str, folder: Path) -> str:
    """What a command prints; packages are installed into a folder of the checkout instead of the environment."""
    words, site = shlex.split(command), folder / "site"
    if words[:2] == ["pip", "install"]:
        install(site, folder / words[-1])
        return ""
    if words[0] == "scenewright":
        words = [*COMMAND, *words[1:]]
    environment = {**with_packages(site), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    for summary in folder.rglob(layout.SUMMARY):
        assert_numbers_agree(summary.parent, has_page=False)
    return (done.stdout + done.stderr).strip()


def without_times(text: str) -> str:
    """The text without durations, and without lines of progress that only a slow machine shows."""
    lines = [line for line in text.splitlines() if not re.match(r"\w+: \d+/\d+ done", line)]
    return re.sub(r"\d+(\.\d+)? (ms|s|min( \d+ s)?)\b", "<time>", "\n".join(lines))


def test_every_command_prints_what_the_page_shows(checkout: Path) -> None:
    found = list(commands(PAGE.read_text()))
    assert len(found) >= 6
    for command, shown in found:
        assert without_times(run(command, checkout)) == without_times(shown), command


def test_the_page_names_the_entry_point_of_the_package() -> None:
    project = (PACKAGE / "pyproject.toml").read_text()
    assert f'[project.entry-points."{GROUP}"]\nfog = "fog.pipeline:PIPELINE"' in project
    assert 'fog = "fog.pipeline:PIPELINE"' in PAGE.read_text() and GROUP in PAGE.read_text()
