"""Faults that no repetition mends: told from others, and with what to install."""

from __future__ import annotations

import pytest

from scenewright_stages.contract.errors import ExitCode, SampleError, ScenewrightError
from scenewright_stages.contract.faults import PackageMissing, how_to_install, is_program_fault, missing_package
from scenewright_stages.worker.process.endings import UNEXPECTED, ending_for, explained


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("cv2", "pip install 'scenewright[stages]'"),
        ("diffusers", "pip install 'scenewright[diffusion]'"),
        ("somebodys_own", "pip install somebodys_own"),
    ],
)
def test_a_missing_package_is_told_with_the_command_that_installs_it(package: str, command: str) -> None:
    problem = explained(ModuleNotFoundError(f"No module named {package!r}", name=package), "albedo")
    assert isinstance(problem, PackageMissing)
    ending = ending_for(problem)
    assert (ending.code, ending.reason) == (ExitCode.CONFIGURATION, "PackageMissing")
    assert command in ending.message and "albedo" in ending.message
    assert command == how_to_install(package)


def test_it_is_found_behind_the_error_that_it_caused() -> None:
    try:
        try:
            raise ModuleNotFoundError("No module named 'av'", name="av")
        except ImportError as lacking:
            raise RuntimeError("no video can be written") from lacking
    except RuntimeError as problem:
        assert missing_package(problem) is problem.__cause__


@pytest.mark.parametrize(
    "problem",
    [TypeError("x"), AttributeError("x"), KeyError("degrade"), ImportError("Mask", name="scenewright_stages.vision")],
)
def test_a_mistake_in_the_code_ends_at_once_and_says_that_it_is_one(problem: Exception) -> None:
    ending = ending_for(explained(problem, "publish"))
    assert (ending.code, ending.reason) == (ExitCode.CONFIGURATION, "ProgramFault")
    assert "a mistake in the code" in ending.message and type(problem).__name__ in ending.message


@pytest.mark.parametrize(
    "problem", [RuntimeError("CUDA error"), OSError("reset"), ValueError("a number"), MemoryError()]
)
def test_what_may_pass_is_tried_again(problem: Exception) -> None:
    assert not is_program_fault(problem)
    assert ending_for(explained(problem, "albedo")).code == UNEXPECTED


def test_errors_for_users_stay_what_they_are() -> None:
    problem: ScenewrightError = SampleError("ImageTruncated", "cut")
    assert explained(problem, "albedo") is problem
