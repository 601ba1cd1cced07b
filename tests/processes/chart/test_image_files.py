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
DOCKERFILE = (ROOT / "images/Dockerfile").read_text()


def target(name: str) -> str:
    """The part of the Dockerfile that makes one of its targets, from its FROM on."""
    found = re.search(rf"^FROM \S+ AS {name}$.*?(?=^FROM |\Z)", DOCKERFILE, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return found[0]


def built_on(name: str) -> list[str]:
    """The targets below it, down to the base image."""
    base = re.findall(r"^FROM (\S+)", target(name), flags=re.MULTILINE)[0]
    return [base] if base.startswith("$") else [base, *built_on(base)]


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["operator", *IMAGES])
def test_the_base_can_be_chosen_and_processes_are_not_root(name: str) -> None:
    assert built_on(name)[-1] == "${BASE_IMAGE}"
    assert re.findall(r"^USER (.*)$", target(name), flags=re.MULTILINE)[-1] == "65532:65532"
    below = " ".join(target(each) for each in built_on(name)[:-1]) + target(name)
    assert ("CMD [" in below and "install-packages" in below) or name == "operator"


def test_a_build_needs_nothing_of_the_host_but_the_checkout() -> None:
    """No environment, bundle or tool of the host: what is copied is checked in or built before."""
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    copied = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert len(copied) > 10
    for source in itertools.chain.from_iterable(words.split()[:-1] for words in copied):
        assert any(file == source or file.startswith(f"{source}/") for file in known), source
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE))
    assert set(re.findall(r"--from=([\w-]+)", DOCKERFILE)) <= stages
    assert "--mount" not in DOCKERFILE, "buildah 1.28 cannot mount a stage that it takes from its cache"


def test_what_is_copied_into_a_build_is_not_ignored_and_built_files_are() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, flags=re.MULTILINE):
        assert {f"!{each.partition('/')[0]}" for each in source.split()} <= set(lines)
    assert {"**/*.tflite", "**/report/assets/viewer.*", "**/node_modules", "**/__pycache__"} <= set(lines)


@pytest.mark.parametrize("name", ["operator", "run", *IMAGES, "nvcc", "test", "build", "uv"])
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
    for name in ("cpu", "gaussians"):
        assert f"requirements/{name}.txt" in target(f"{name}-packages")
        assert pins("run").items() <= pins(name).items()


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
    assert not any("nvcc.txt" in target(name) for name in ("gaussians", *built_on("gaussians")[:-1]))
    assert "--from=gsplat-kernels /opt/csrc.so" in target("gaussians")


FAKE_ENGINE = """#!/bin/bash
[ "$1" = build ] || exit 0
while [ $# -gt 0 ]; do
    case $1 in
        --tag) tag=$2 ;;
        --target) target=$2 ;;
        --build-arg) case $2 in BASE_IMAGE=*) base=${2#*=} ;; esac ;;
    esac
    shift
done
echo "$tag of $target on $base" >> "$BUILT"
[ "$tag" != "$BROKEN" ]
"""


def built_images(folder: Path, *wanted: str, broken: str = "") -> tuple[int, list[str], list[str]]:
    """Exit code, what the engine was asked for, and the names that were printed; nothing is really built."""
    repository = folder / "repository"
    shutil.copytree(ROOT / "images", repository / "images")
    (repository / "pyproject.toml").write_text('version = "1.2"\n')
    engine = folder / "bin/buildah"
    engine.parent.mkdir()
    engine.write_text(FAKE_ENGINE)
    engine.chmod(0o755)
    log = folder / "built"
    log.touch()
    environment = {**os.environ, "PATH": f"{engine.parent}:{os.environ['PATH']}", "BUILT": str(log), "BROKEN": broken}
    environment |= {"ENGINE": "buildah", "SOURCE_DATE_EPOCH": "0", "BASE_IMAGE": "base", "PREFIX": "lab/"}
    done = subprocess.run(
        ["images/build", *wanted], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, log.read_text().splitlines(), done.stdout.split()


def test_all_images_are_built_in_their_order(tmp_path: Path) -> None:
    code, built, told = built_images(tmp_path)
    assert code == 0
    in_order = ("operator", "cpu-packages", "cpu", "gaussians-packages", *IMAGES[1:])
    assert built == [f"lab/{name}:1.2 of {name} on base" for name in in_order]
    assert told == [f"lab/{name}:1.2" for name in ("operator", *IMAGES)]


def test_an_image_can_be_built_alone_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    assert built_images(tmp_path / "one", "perception")[::2] == (0, ["lab/perception:1.2"])
    assert built_images(tmp_path / "none", "wheel") == (1, [], [])


def test_a_build_that_fails_ends_the_command(tmp_path: Path) -> None:
    code, built, told = built_images(tmp_path, "gaussians", "diffusion", broken="lab/gaussians:1.2")
    assert (code != 0, len(built), told) == (True, 2, [])
