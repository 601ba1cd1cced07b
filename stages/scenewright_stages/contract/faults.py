"""Faults that no repetition mends: a missing Python package, and mistakes in the code.

The worker asks here before it tries anything again. A missing package ends the run with what to install; a mistake in
the code ends it with the place, and costs one sample only if it happens in that sample's code.
"""

from __future__ import annotations

import re
import traceback
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from scenewright_stages.contract.errors import ConfigurationError

OWN = ("scenewright", "scenewright_stages")
_PROGRAM_FAULTS = (
    ImportError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    AssertionError,
)
_DISTRIBUTIONS = {
    "cv2": "opencv-contrib-python-headless",
    "PIL": "pillow",
    "rerun": "rerun-sdk",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Distributions whose name is not that of their package."""


class PackageMissing(ConfigurationError):  # noqa: N818 - names a state
    """A Python package is not installed where the step runs, or cannot be loaded there."""

    def __init__(self, step: str, problem: ImportError) -> None:
        package = (problem.name or "").partition(".")[0] or str(problem)
        super().__init__(step, package, f"{problem}: {how_to_install(package)}, where the stages run; then run again")


def missing_package(problem: BaseException) -> ImportError | None:
    """The import error of a package that is not ours, among a problem and its causes; None if there is none."""
    seen: BaseException | None = problem
    while seen is not None:
        if isinstance(seen, ImportError) and not _is_ours(seen):
            return seen
        seen = seen.__cause__
    return None


def is_program_fault(problem: BaseException) -> bool:
    """Whether a mistake in the code raised it, so that the next attempt would end in the same way."""
    return isinstance(problem, _PROGRAM_FAULTS)


def place_of(problem: BaseException) -> str:
    """File and line where it was raised, such as ``catalogue.py, line 98``; empty if unknown."""
    frames = traceback.extract_tb(problem.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def how_to_install(package: str) -> str:
    """The command that installs a package: our extra that has it, else the package itself."""
    name = _DISTRIBUTIONS.get(package, package)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        return "install what it needs"
    extra = _extras().get(_normal(name))
    return f"pip install 'scenewright[{extra}]'" if extra else f"pip install {name}"


def _extras() -> dict[str, str]:
    """Extra of our distribution by distribution that it needs, without the one for developers."""
    try:
        wanted = requires("scenewright") or []
    except PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in wanted:
        name, extra = re.match(r"[A-Za-z0-9._-]+", line), re.search(r"extra == ['\"]([a-z0-9_-]+)['\"]", line)
        if name and extra and extra[1] != "dev":
            found.setdefault(_normal(name[0]), extra[1])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_ours(problem: ImportError) -> bool:
    """Whether our own code lacks what it imports, which is a mistake in it and not a missing package."""
    return (problem.name or "").partition(".")[0] in OWN
