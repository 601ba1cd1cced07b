"""The face classifier: a boosted cascade over local binary patterns of image blocks (Liao et al. 2007).

The trained parameters are OpenCV's frontal face cascade, read from the installed scikit-image. Its own evaluation is
much slower than the compiled one here, and reports no score.
"""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FILE = Path("data") / "lbpcascade_frontalface_opencv.xml"
_SUBSET_WORDS = 8  # 256 patterns, 32 in a word
WINDOW = 24


@dataclass(frozen=True, eq=False)
class FaceCascade:
    """The cascade as flat arrays; every weak classifier looks up one pattern of 3x3 blocks.

    Attributes:
        blocks: (N, 4) int32: x, y of the upper left block in the window, width and height of one block, pixels.
        subsets: (N, 8) uint32: bit p % 32 of word p // 32 is set if pattern p is evidence against a face.
        leaves: (N, 2) float32: the classifier's contribution if the bit is set, and if not.
        stage_ends: (S,) int32: index after the last classifier of a stage.
        stage_thresholds: (S,) float32: windows with a smaller sum are rejected.
    """

    blocks: NDArray[np.int32]
    subsets: NDArray[np.uint32]
    leaves: NDArray[np.float32]
    stage_ends: NDArray[np.int32]
    stage_thresholds: NDArray[np.float32]


class FaceCascadeError(RuntimeError):
    """scikit-image, whose trained face cascade the classic person finder reads, is not installed."""


@cache
def face_cascade() -> FaceCascade:
    """The cascade of the installed scikit-image, read once.

    Raises:
        FaceCascadeError: scikit-image or its file is missing.
    """
    spec = importlib.util.find_spec("skimage")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if (Path(folder) / _FILE).is_file():
            return read_cascade(Path(folder) / _FILE)
    raise FaceCascadeError("the classic person finder needs scikit-image: pip install 'scenewright[stages]'")


def read_cascade(path: Path) -> FaceCascade:
    """Read a cascade of depth-one trees over local binary patterns in OpenCV's XML format.

    Raises:
        ValueError: the file has another kind of cascade.
    """
    root = ElementTree.parse(path).getroot().find("cascade")
    if root is None or root.findtext("featureType") != "LBP" or root.findtext("width") != str(WINDOW):
        raise ValueError(f"{path.name} is not a cascade over local binary patterns of {WINDOW} pixels")
    blocks = np.array([_numbers(rect) for rect in root.iterfind("features/_/rect")], np.int32)
    stages = root.findall("stages/_")
    nodes = [[_numbers(node) for node in stage.iterfind("weakClassifiers/_/internalNodes")] for stage in stages]
    leaves = [_numbers(leaf) for stage in stages for leaf in stage.iterfind("weakClassifiers/_/leafValues")]
    flat = np.array([node for stage in nodes for node in stage], np.int64)
    return FaceCascade(
        blocks=blocks[flat[:, 2]],
        subsets=(flat[:, 3 : 3 + _SUBSET_WORDS] & 0xFFFFFFFF).astype(np.uint32),
        leaves=np.array(leaves, np.float32),
        stage_ends=np.cumsum([len(stage) for stage in nodes]).astype(np.int32),
        stage_thresholds=np.array([float(stage.findtext("stageThreshold", "nan")) for stage in stages], np.float32),
    )


def _numbers(element: ElementTree.Element) -> list[float]:
    return [float(number) for number in (element.text or "").split()]


@njit(cache=True, nogil=True)
def _block(integral, row, column, height, width):
    return (
        integral[row + height, column + width]
        - integral[row, column + width]
        - integral[row + height, column]
        + integral[row, column]
    )


@njit(cache=True, nogil=True)
def _pattern(integral, row, column, height, width):
    """The 3x3 blocks from (row, column) on: a bit for each outer block that is at least as bright as the middle.

    The bits run clockwise from the upper left block, which has the highest one.
    """
    middle = _block(integral, row + height, column + width, height, width)
    pattern = 0
    pattern |= (_block(integral, row, column, height, width) >= middle) << 7
    pattern |= (_block(integral, row, column + width, height, width) >= middle) << 6
    pattern |= (_block(integral, row, column + 2 * width, height, width) >= middle) << 5
    pattern |= (_block(integral, row + height, column + 2 * width, height, width) >= middle) << 4
    pattern |= (_block(integral, row + 2 * height, column + 2 * width, height, width) >= middle) << 3
    pattern |= (_block(integral, row + 2 * height, column + width, height, width) >= middle) << 2
    pattern |= (_block(integral, row + 2 * height, column, height, width) >= middle) << 1
    pattern |= (_block(integral, row + height, column, height, width) >= middle) << 0
    return pattern


@njit(cache=True, nogil=True)
def face_windows(integral, window, step, blocks, subsets, leaves, stage_ends, stage_thresholds):
    """Margins of the last stage, (rows, columns) float32; NaN where a window left the cascade.

    integral is (H + 1, W + 1) int32, the sums of a grey image; windows start every `step` pixels.
    """
    rows = (integral.shape[0] - 1 - window) // step + 1
    columns = (integral.shape[1] - 1 - window) // step + 1
    margins = np.full((rows, columns), np.nan, np.float32)
    for row in range(rows):
        for column in range(columns):
            classifier = 0
            total = np.float32(0.0)
            for stage in range(stage_ends.shape[0]):
                total = np.float32(0.0)
                while classifier < stage_ends[stage]:
                    x, y, width, height = blocks[classifier]
                    pattern = _pattern(integral, row * step + y, column * step + x, height, width)
                    unlike = (subsets[classifier, pattern >> 5] >> (pattern & 31)) & 1
                    total += leaves[classifier, 0] if unlike else leaves[classifier, 1]
                    classifier += 1
                if total < stage_thresholds[stage]:
                    total = np.float32(np.nan)
                    break
            if not np.isnan(total):
                margins[row, column] = total - stage_thresholds[-1]
    return margins
