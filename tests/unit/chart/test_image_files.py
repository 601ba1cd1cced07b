"""The recipes of the images: pinned, without root, without what does not belong into them."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scenewright_stages.contract.pipeline import IMAGES

ROOT = Path(__file__).parents[3]
RECIPES = ("operator", "stage-base", *IMAGES)


def recipe(name: str) -> str:
    return (ROOT / "images" / name / "Dockerfile").read_text()


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", RECIPES)
def test_the_base_can_be_chosen_and_processes_are_not_root(name: str) -> None:
    text = recipe(name)
    assert re.search(r"^ARG BASE_IMAGE=", text, flags=re.MULTILINE)
    assert re.findall(r"^USER (.*)$", text, flags=re.MULTILINE)[-1] == "65532:65532"
    assert "SOURCE_DATE_EPOCH" in text


@pytest.mark.parametrize("name", ["operator", "run", *IMAGES, "nvcc", "test", "build"])
def test_every_requirement_has_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert not [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block]


@pytest.mark.parametrize("name", ["operator", "run", *IMAGES, "nvcc", "build"])
def test_images_get_the_versions_that_are_tested(name: str) -> None:
    tested = pins("test")
    others = {package: (version, tested[package]) for package, version in pins(name).items() if package in tested}
    assert len(others) > 0
    assert not {package: pair for package, pair in others.items() if pair[0] != pair[1]}


def test_each_image_holds_what_the_ones_before_it_hold() -> None:
    for smaller, larger in itertools.pairwise(("run", *IMAGES)):
        assert pins(smaller).items() < pins(larger).items()
    assert {"gsplat", "transformers", "diffusers"} & set(pins("cpu")) == set()


def test_pods_and_laptops_have_the_same_libraries() -> None:
    assert "requirements/run.txt" in recipe("stage-base")


def test_packages_that_come_as_source_are_built_alike_on_laptops_and_in_images() -> None:
    """Without these options sam2's build would install a second PyTorch, and look for a CUDA compiler."""
    options = [
        re.findall(r"(--no-build-isolation-package \S+|SAM2_BUILD_CUDA=0|--no-deps(?= \\))", (ROOT / path).read_text())
        for path in ("tools/setup", "images/install-packages")
    ]
    assert options[0] == options[1] and len(options[0]) == 5
    built = {option.split()[1] for option in options[0] if " " in option}
    assert built | {"setuptools"} <= set(pins("perception")) and not built & set(pins("gaussians"))


def test_the_operators_image_has_nothing_of_the_data_planes_libraries() -> None:
    assert not set(pins("operator")) & {"torch", "numpy", "opencv-contrib-python-headless", "boto3"}


def test_the_toolkit_that_compiles_gsplat_is_the_one_that_pytorch_runs_with() -> None:
    assert pins("nvcc")["cuda-toolkit"] == pins("run")["cuda-toolkit"]
    assert "nvidia-cuda-nvcc" not in pins("diffusion"), "a Pod has no compiler"
    final = recipe("gaussians").rsplit("\nFROM ", 1)[1]
    assert "nvcc" not in final
    assert "gsplat/csrc.so" in final


FAKE_ENGINE = """#!/bin/bash
[ "$1" = build ] || exit 0
while [ $# -gt 0 ]; do
    case $1 in
        --tag) tag=$2 ;;
        --build-arg) case $2 in BASE_IMAGE=*) base=${2#*=} ;; DEVICES=*) devices=" ${2#*=}" ;; esac ;;
    esac
    shift
done
echo "$tag on $base$devices" >> "$BUILT"
[ "$tag" != "$BROKEN" ]
"""


def built_images(folder: Path, *wanted: str, broken: str = "") -> tuple[int, list[str], list[str]]:
    """Exit code, what the engine was asked for, and the names that were printed; nothing is really built."""
    repository = folder / "repository"
    for name in ("images", "requirements", "operator", "stages/scenewright_stages/report/assets", ".venv/bin"):
        (repository / name).mkdir(parents=True)
    shutil.copytree(ROOT / "images", repository / "images", dirs_exist_ok=True)
    (repository / "pyproject.toml").write_text('version = "1.2"\n')
    (repository / "stages/scenewright_stages/report/assets/viewer.js").touch()
    people = repository / "stages/scenewright_stages/vision/people/models"
    people.mkdir(parents=True)
    (people / "face.tflite").touch()
    shutil.copy(shutil.which("true") or "", repository / ".venv/bin/uv")
    engine = folder / "bin/buildah"
    engine.parent.mkdir()
    engine.write_text(FAKE_ENGINE)
    engine.chmod(0o755)
    subprocess.run(["git", "init", "-q", "."], cwd=repository, check=True)
    subprocess.run(["git", "add", "pyproject.toml", "stages"], cwd=repository, check=True)
    log = folder / "built"
    log.touch()
    environment = {**os.environ, "PATH": f"{engine.parent}:{os.environ['PATH']}", "BUILT": str(log), "BROKEN": broken}
    environment |= {"ENGINE": "buildah", "SOURCE_DATE_EPOCH": "0", "BASE_IMAGE": "base", "PREFIX": "lab/"}
    done = subprocess.run(
        ["images/build", *wanted], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, log.read_text().splitlines(), done.stdout.split()


def test_all_images_are_built_once_and_in_their_order(tmp_path: Path) -> None:
    code, built, told = built_images(tmp_path)
    assert code == 0
    assert built == [
        "lab/operator:1.2 on base",
        "lab/stage-base:1.2-cpu on base cpu",
        "lab/cpu:1.2 on lab/stage-base:1.2-cpu",
        "lab/stage-base:1.2-gpu on base gpu",
        "lab/gaussians:1.2 on lab/stage-base:1.2-gpu",
        "lab/perception:1.2 on lab/gaussians:1.2",
        "lab/diffusion:1.2 on lab/perception:1.2",
    ]
    assert told == [f"lab/{name}:1.2" for name in ("operator", *IMAGES)]


def test_an_image_comes_with_those_that_it_is_built_on(tmp_path: Path) -> None:
    code, _, told = built_images(tmp_path, "perception")
    assert (code, told) == (0, ["lab/gaussians:1.2", "lab/perception:1.2"])


def test_a_build_that_fails_ends_the_command(tmp_path: Path) -> None:
    code, built, told = built_images(tmp_path, "diffusion", broken="lab/stage-base:1.2-gpu")
    assert (code != 0, len(built), told) == (True, 1, [])
