"""Measures the quality of the final flight: what a viewer sees, not how many views were added.

A stage calls `flight_quality`, records the numbers and warns of failures; the page shows them with `quality_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.report.data import Metric
from scenewright_stages.scenes.flight import Flight
from scenewright_stages.scenes.frames import Frame
from scenewright_stages.scenes.stray_colours import stray_share
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.metrics import psnr

MAXIMUM_MEAN_UNCOVERED = 0.01
MAXIMUM_FRAME_UNCOVERED = 0.04
MINIMUM_CLEARANCE = 0.5
MINIMUM_INPUT_PSNR = 30.0
MAXIMUM_STRAY = 2e-4

_POINTS_PER_CHUNK = 65536


@dataclass(frozen=True)
class Remedies:
    """What a user can set against each kind of defect, as the end of a sentence with field and value."""

    holes: str = "move less, or add views."
    motion: str = "move less."
    fit: str = "fit for longer."


@dataclass(frozen=True)
class FlightQuality:
    """Measurements along the final path.

    Attributes:
        uncovered_mean, uncovered_max: share of pixels with alpha below 0.7, over all frames and in the worst frame.
        worst_frame: number of that frame.
        clearance: distance of the nearest Gaussian to any camera, relative to the input's 5th percentile of depth.
        input_psnr: of the render from the photograph's pose, dB.
        stray: share of pixels with a colour that neither the photograph nor a fill has at that place.
    """

    uncovered_mean: float
    uncovered_max: float
    worst_frame: int
    clearance: float
    input_psnr: float
    stray: float

    def failures(self, remedies: Remedies | None = None) -> list[str]:
        """Warnings about visible defects, each with what to set; empty if the flight is good."""
        remedies = remedies or Remedies()
        found: list[str] = []
        if self.uncovered_mean > MAXIMUM_MEAN_UNCOVERED:
            found.append(f"{self.uncovered_mean:.1%} of the video is uncovered (good: at most 1 %): {remedies.holes}")
        elif self.uncovered_max > MAXIMUM_FRAME_UNCOVERED:
            found.append(
                f"{self.uncovered_max:.1%} of frame {self.worst_frame} is uncovered (good: at most 4 %): "
                f"{remedies.holes}"
            )
        if self.clearance < MINIMUM_CLEARANCE:
            found.append(
                f"The camera comes as near as {self.clearance:.2f} of the scene's near depth to a Gaussian "
                f"(good: at least 0.5): {remedies.motion}"
            )
        if self.input_psnr < MINIMUM_INPUT_PSNR:
            found.append(
                f"The photograph is reproduced at {self.input_psnr:.1f} dB only (good: at least 30 dB): {remedies.fit}"
            )
        if self.stray > MAXIMUM_STRAY:
            found.append(
                f"{self.stray:.3%} of the video are blobs of a colour that neither the photograph nor a fill has there "
                f"(good: at most {MAXIMUM_STRAY:.2%}): {remedies.motion}"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """The numbers, their limits, and whether they are met."""
        limits = {
            "uncovered_mean": MAXIMUM_MEAN_UNCOVERED,
            "uncovered_max": MAXIMUM_FRAME_UNCOVERED,
            "clearance": MINIMUM_CLEARANCE,
            "input_psnr": MINIMUM_INPUT_PSNR,
            "stray": MAXIMUM_STRAY,
        }
        return {**asdict(self), "limits": limits, "good": not self.failures()}


def flight_quality(scene: GaussianScene, frames: Sequence[Frame], flight: Flight, renderer: Renderer) -> FlightQuality:
    """Measures what a viewer sees: holes, collisions, stray colours, and fidelity to the photograph.

    Args:
        frames: the views that the scene was built from, the photograph first.
    """
    first = frames[0]
    with torch.no_grad():
        again = renderer.render(scene, [first.camera]).rgb[0].cpu()
    near = float(np.percentile(first.depth[first.near], 5))
    return FlightQuality(
        uncovered_mean=float(np.mean(flight.uncovered)),
        uncovered_max=float(np.max(flight.uncovered)),
        worst_frame=int(np.argmax(flight.uncovered)),
        clearance=nearest_distance(scene.means.detach().cpu().numpy(), flight.cameras) / near,
        input_psnr=float(psnr(again, torch.as_tensor(first.srgb))),
        stray=stray_share(scene, flight.cameras, frames, renderer),
    )


def nearest_distance(means: NDArray[np.float32], cameras: Sequence[Camera]) -> float:
    """Smallest distance in metres between any camera centre and any Gaussian's mean, (N, 3)."""
    # Relative to the first centre: far from the origin, squares of float32 coordinates cancel.
    origin = cameras[0].position
    centres = np.stack([camera.position - origin for camera in cameras]).astype(np.float32)
    nearest = np.inf
    for start in range(0, len(means), _POINTS_PER_CHUNK):
        block = (means[start : start + _POINTS_PER_CHUNK] - origin).astype(np.float32)
        squared = (block**2).sum(1)[:, None] - 2.0 * block @ centres.T + (centres**2).sum(1)[None, :]
        nearest = min(nearest, float(squared.min()))
    return float(np.sqrt(max(nearest, 0.0)))


def quality_rows(quality: Mapping[str, Any]) -> Iterator[Metric]:
    """Rows of numbers and limits for the page; `quality` comes from `FlightQuality.to_json`."""
    yield Metric(
        "Uncovered, mean", 100 * quality["uncovered_mean"], "%", "lower", 100 * MAXIMUM_MEAN_UNCOVERED, 2,
        "Share of the video's pixels that show nothing",
    )  # fmt: skip
    yield Metric(
        "Uncovered, worst frame", 100 * quality["uncovered_max"], "%", "lower", 100 * MAXIMUM_FRAME_UNCOVERED, 2,
        f"Frame {quality['worst_frame']}",
    )  # fmt: skip
    yield Metric(
        "Clearance", quality["clearance"], "", "higher", MINIMUM_CLEARANCE, 2,
        "Nearest Gaussian to any camera, relative to the scene's near depth",
    )  # fmt: skip
    yield Metric(
        "Photograph again", quality["input_psnr"], "dB", "higher", MINIMUM_INPUT_PSNR, 1,
        "PSNR of the photograph rendered from its own pose",
    )  # fmt: skip
    yield Metric(
        "Stray colours", 100 * quality["stray"], "%", "lower", 100 * MAXIMUM_STRAY, 3,
        "Share of the video's pixels in colours that neither the photograph nor a fill has at their place",
    )  # fmt: skip
