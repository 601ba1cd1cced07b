"""A stage that asks by capability gets that capability's interface, and mypy sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
from pathlib import Path
from typing import assert_type

from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.depth.interface import DEPTH, DepthEstimate, DepthEstimator
from scenewright_stages.backends.inpaint.interface import OUTPAINT, Inpainter
from scenewright_stages.backends.runtime.loading import load
from scenewright_stages.backends.segment.interface import SEGMENT, Segmenter, Subject
from scenewright_stages.contract.stage import BackendUse, ModelSettings
from scenewright_stages.vision.imaging.matting import SubjectMatte
import numpy as np

image = np.zeros((2, 2, 3), np.float32)
assert_type(load(DEPTH, "moge"), DepthEstimator)
assert_type(load(OUTPAINT, "classic"), Inpainter)
chain = BackendChain(SEGMENT, ("sam3", "sam2"), ModelSettings())
assert_type(chain, BackendChain[Segmenter])
assert_type(chain.call(lambda backend: backend.segment(image, Subject("person"))), tuple[SubjectMatte, BackendUse])
"""
WRONG = (
    "load(DEPTH, 'moge').fill(image, image)",
    "load(OUTPAINT, 'classic').estimate(image)",
    "chain.call(lambda backend: backend.caption(image, '?'))",
)


@pytest.mark.slow
@pytest.mark.process
def test_mypy_knows_what_a_capability_gives(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(PROGRAM + "\n".join(WRONG))
    arguments = ["--config-file", "pyproject.toml", str(tmp_path / "right.py"), str(tmp_path / "wrong.py")]
    command = [sys.executable, "-m", "mypy", *arguments]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == len(WRONG), done.stdout + done.stderr
    first = len(PROGRAM.splitlines()) + 1
    for number, error in enumerate(errors, first):
        assert f"wrong.py:{number}:" in error and "[attr-defined]" in error
