"""Loads MediaPipe's face and person models with OpenCV; ``tools/install_people_models.py`` installs them here.

They are published by Google in npm packages for browsers, under the Apache License 2.0.
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
    """Per-thread networks, because an OpenCV network holds the state of one run."""

    def __init__(self) -> None:
        self.loaded: dict[str, cv2.dnn.Net] = {}


_NETWORKS = _Networks()
_READING = threading.Lock()
"""OpenCV registers its layers at the first reading; two threads that read at once end the process."""


def model_file(name: str) -> Path:
    """The file of a model.

    Raises:
        ModelsNotInstalled: it was never installed; the message names the command to run.
    """
    path = FOLDER / name
    if not path.is_file():
        raise ModelsNotInstalled(f"{path} is missing: run `python tools/install_people_models.py`")
    return path


def network(name: str) -> cv2.dnn.Net:
    """The network of a file, loaded once per thread. Raises ModelsNotInstalled."""
    if name not in _NETWORKS.loaded:
        path = str(model_file(name))
        with _READING:
            # OpenCV's other engine returns only the first output of these files.
            _NETWORKS.loaded[name] = cv2.dnn.readNetFromTFLite(path, cv2.dnn.ENGINE_CLASSIC)
    return _NETWORKS.loaded[name]
