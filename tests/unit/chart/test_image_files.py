"""The recipes of the images: pinned, without root, without what does not belong into them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IMAGES = ("operator", "stage-base", "scene")


def recipe(name: str) -> str:
    return (ROOT / "images" / name / "Dockerfile").read_text()


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", IMAGES)
def test_the_base_can_be_chosen_and_processes_are_not_root(name: str) -> None:
    text = recipe(name)
    assert re.search(r"^ARG BASE_IMAGE=", text, flags=re.MULTILINE)
    assert re.findall(r"^USER (.*)$", text, flags=re.MULTILINE)[-1] == "65532:65532"
    assert "SOURCE_DATE_EPOCH" in text


@pytest.mark.parametrize("name", ["operator", "run", "scene", "test", "build"])
def test_every_requirement_has_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert not [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block]


@pytest.mark.parametrize("name", ["operator", "run", "scene", "build"])
def test_images_get_the_versions_that_are_tested(name: str) -> None:
    tested = pins("test")
    others = {package: (version, tested[package]) for package, version in pins(name).items() if package in tested}
    assert len(others) > 0
    assert not {package: pair for package, pair in others.items() if pair[0] != pair[1]}


def test_pods_and_laptops_have_the_same_libraries() -> None:
    assert pins("run").items() <= pins("scene").items()
    assert "requirements/run.txt" in recipe("stage-base")


def test_the_operators_image_has_nothing_of_the_data_planes_libraries() -> None:
    assert not set(pins("operator")) & {"torch", "numpy", "opencv-contrib-python-headless", "boto3", "kubernetes"}
