"""Several samples are in work at a time, each in a thread: what they call must not start threads of its own."""

from __future__ import annotations

import cv2


def one_thread_each() -> None:
    """OpenCV works in the calling thread from now on; results do not depend on it."""
    cv2.setNumThreads(1)
