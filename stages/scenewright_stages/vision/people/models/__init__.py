"""MediaPipe's models of faces and people, put here by ``tools/install_people_models.py``, and OpenCV to run them.

They are Google's, under the Apache License 2.0, as its npm packages for browsers publish them.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2

FOLDER = Path(__file__).parent
FACES = "face_detection_full_range.tflite"
FACE_MESH = "face_landmark.tflite"
PEOPLE = "selfie_segmentation.tflite"
PEOPLE_IN_WIDE_PICTURES = "selfie_segmentation_landscape.tflite"


class ModelsNotInstalled(FileNotFoundError):  # noqa: N818 - named after what it states
    """The models are missing from this installation."""


class _Networks(threading.local):
    """The networks of a thread: OpenCV's hold the state of one run."""

    def __init__(self) -> None:
        self.loaded: dict[str, cv2.dnn.Net] = {}


_NETWORKS = _Networks()


def model_file(name: str) -> Path:
    """The file of a model.

    Raises:
        ModelsNotInstalled: it was never installed; the message names the command that does it.
    """
    path = FOLDER / name
    if not path.is_file():
        raise ModelsNotInstalled(f"{path} is missing: run `python tools/install_people_models.py`")
    return path


def network(name: str) -> cv2.dnn.Net:
    """The network of a file, loaded once in each thread. Raises ModelsNotInstalled."""
    if name not in _NETWORKS.loaded:
        # OpenCV's other engine answers the first output of these files alone.
        _NETWORKS.loaded[name] = cv2.dnn.readNetFromTFLite(str(model_file(name)), cv2.dnn.ENGINE_CLASSIC)
    return _NETWORKS.loaded[name]
