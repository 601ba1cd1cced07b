"""The face classifier: a boosted cascade over local binary patterns of image blocks (Liao et al. 2007).

The trained numbers are those of OpenCV's frontal face cascade as scikit-image ships it; they are read from the
installed scikit-image, whose own evaluation takes far longer than this package's and tells no score.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

_FILE = Path("data") / "lbpcascade_frontalface_opencv.xml"
_SUBSET_WORDS = 8  # 256 patterns, 32 in a word
WINDOW = 24


@dataclass(frozen=True, eq=False)
class FaceCascade:
    """The cascade as flat arrays; every weak classifier looks up one pattern of 3x3 blocks.

    Attributes:
        blocks: (N, 4) int32: x, y of the upper left block in the window, width and height of one block, pixels.
        subsets: (N, 8) uint32: bit p % 32 of word p // 32 is set if pattern p speaks against a face.
        leaves: (N, 2) float32: what the classifier adds if the bit is set, and if not.
        stage_ends: (S,) int32: index after the last classifier of a stage.
        stage_thresholds: (S,) float32: a window whose sum is below leaves the cascade.
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
        FaceCascadeError: scikit-image or its file is not there.
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
        ValueError: the file holds another kind of cascade.
    """
    root = ElementTree.parse(path).getroot().find("cascade")
    if root is None or root.findtext("featureType") != "LBP" or root.findtext("width") != str(WINDOW):
        raise ValueError(f"{path.name} is no cascade over local binary patterns of {WINDOW} pixels")
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
