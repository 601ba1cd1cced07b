"""Stage 3: relights the albedo, and records the true light.

The normals backend gives the surface; if it detects faces, their noses and chins cast shadows. The light's strength is
set to a drawn luminance ratio, so that brightness does not reveal which image of a pair is the relit one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.normals.interface import NORMALS, FaceShapeEstimator, NormalEstimator
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_linear,
    bytes_from_unit,
    linear_from_bytes,
    one_thread_each,
    read_rgb,
    read_rgba,
    unit_from_bytes,
    write_json,
)
from scenewright_stages.relight.lighting import Draw, drawn, normalised
from scenewright_stages.relight.params import PairGatesParams, RelightParams
from scenewright_stages.relight.shading import estimate_light, gain_for, mean_luminance, shade
from scenewright_stages.vision.subjects.people.face_heights import cast_shadows
from scenewright_stages.vision.types import Float32Array, Uint8Array

SAME_LIGHT = "same-light"
_SMALL_SIDE = 128
"""Longer side of the copy on which the exposure and the photograph's own light are worked out."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The surface to be lit.

    Attributes:
        albedo: (H, W, 3) uint8 sRGB.
        alpha: (H, W) uint8, the person's matte.
        normals: (H, W, 3) float32 unit vectors, camera frame.
        meshes: (468, 3) points of each detected face, pixels.
    """

    albedo: Uint8Array
    alpha: Uint8Array
    normals: Float32Array
    meshes: tuple[NDArray[np.float64], ...] = ()


class DegradeStage(Stage[RelightParams]):
    """Relights the person."""

    def __init__(self, context: StageContext[RelightParams]) -> None:
        super().__init__(context)
        one_thread_each()
        name, block = self.params.normal_method(), self.params.normals
        options = {**block.options(), "steps": block.steps or None, "detail": block.detail}
        self.chain = BackendChain(NORMALS, (name,), context.models, options, block.variant)

    def process(self, sample: Sample, inputs: StageInputs[RelightParams]) -> StageResult:
        """Writes the relit person, black outside, and the light's parameters.

        Raises:
            SampleRejected: the light changes less than the spec requires (``same-light``).
        """
        photograph, alpha = read_rgba(inputs.path("segment", "layers"))
        albedo = read_rgb(inputs.path("albedo", "albedo"))
        srgb, matte = unit_from_bytes(photograph), unit_from_bytes(alpha)
        (normals, meshes), use = self.chain.call(lambda backend: _shape(backend, srgb, matte))
        surface = Surface(albedo, alpha, normals, meshes if self.params.degradation.shadow.cast else ())
        draw = drawn(self.params.degradation, inputs.seed)
        arrives = arriving(surface, draw)
        draw = exposed(draw, surface, photograph, arrives)
        degraded = relit(surface, draw, arrives)
        seen = measures(photograph, degraded, surface)
        check_gate(self.params.gates, seen["light_change"])
        truth = {
            **draw.as_dict(),
            **seen,
            "weights": normalised(self.params.degradation.weights),
            "seed": inputs.seed,
            "normals": use.to_json(),
            "space": "linear light; direction toward the light in the camera's frame (x right, y down, z forward)",
        }
        light = write_json(inputs.workspace / "params.json", truth)
        outputs: dict[str, Any] = {"degraded": Pixels(degraded), "params": light}
        if self.params.keeps("stage_3"):
            # Separate Pixels objects, because kept images are compressed and intermediate ones are not.
            outputs |= {
                "kept_degraded": Pixels(degraded),
                "kept_params": light,
                "kept_normals": Pixels(bytes_from_unit(normals * np.float32(0.5) + np.float32(0.5))),
                "kept_light": Pixels(bytes_from_unit(arrives)),
            }
        return StageResult(outputs, {**draw.as_dict(), **seen}, (), [use])


def _shape(
    backend: NormalEstimator, srgb: Float32Array, matte: Float32Array
) -> tuple[Float32Array, tuple[NDArray[np.float64], ...]]:
    """Normals and the backend's face meshes."""
    if isinstance(backend, FaceShapeEstimator):
        normals, meshes = backend.estimate_with_faces(srgb, matte)
        return normals, tuple(meshes)
    return backend.estimate(srgb, matte), ()


def check_gate(gates: PairGatesParams, change: float) -> None:
    """Raises SampleRejected (``same-light``) if the light hardly changed."""
    if change < gates.least_light_change:
        raise SampleRejected(
            SAME_LIGHT, f"the light changes the person by {change:.2f} levels, less than {gates.least_light_change:g}"
        )


def arriving(surface: Surface, draw: Draw) -> Float32Array:
    """(H, W) float32 in [0, 1]: visibility of the direct light after shadow patterns and face shadows."""
    shape = surface.alpha.shape
    arrives = np.ones(shape, np.float32) if draw.shadow is None else draw.shadow.arrives(shape)
    cast = cast_shadows(shape, surface.meshes, draw.light.direction, draw.light.hardness)
    return arrives if cast is None else arrives * cast


def exposed(draw: Draw, surface: Surface, photograph: Uint8Array, arrives: Float32Array) -> Draw:
    """The draw with the gain for its luminance ratio; unchanged if it has no ratio."""
    if draw.luminance_ratio is None:
        return draw
    step = _step(surface.alpha.shape)
    inside = surface.alpha[::step, ::step] == 255
    wanted = draw.luminance_ratio * mean_luminance(_small(photograph, step), inside)
    gain = gain_for(
        wanted,
        _small(surface.albedo, step),
        np.ascontiguousarray(surface.normals[::step, ::step]),
        inside,
        draw.light,
        np.ascontiguousarray(arrives[::step, ::step]),
    )
    return replace(draw, light=replace(draw.light, gain=round(gain, 6)))


def relit(surface: Surface, draw: Draw, arrives: Float32Array) -> Uint8Array:
    """(H, W, 3) uint8 sRGB: the person in the new light; black where alpha is 0.

    Args:
        surface: to be lit.
        draw: the light.
        arrives: see :func:`arriving`.
    """
    left, top, width, height = cv2.boundingRect(surface.alpha)
    window = np.s_[top : top + height, left : left + width]
    shaded = shade(
        linear_from_bytes(np.ascontiguousarray(surface.albedo[window])),
        np.ascontiguousarray(surface.normals[window]),
        draw.light,
        np.ascontiguousarray(arrives[window]),
    )
    out = np.zeros_like(surface.albedo)
    out[window] = cv2.copyTo(bytes_from_linear(shaded), np.ascontiguousarray(surface.alpha[window]))
    return out


def measures(photograph: Uint8Array, degraded: Uint8Array, surface: Surface) -> dict[str, Any]:
    """Metrics of the pair: change of light, change of brightness, and the photograph's original light.

    ``target_light`` is fitted to photograph and albedo; null if the fit is undetermined.
    """
    alpha, step = surface.alpha, _step(surface.alpha.shape)
    inside = alpha[::step, ::step] == 255
    before, after = (_small(picture, step) for picture in (photograph, degraded))
    ratio = mean_luminance(after, inside) / max(mean_luminance(before, inside), 1e-6)
    try:
        own = estimate_light(before, _small(surface.albedo, step), surface.normals[::step, ::step], inside).as_dict()
    except ValueError:
        own = None
    return {
        "light_change": light_change(photograph, degraded, (alpha == 255).view(np.uint8)),
        "luminance_ratio": round(ratio, 4),
        "target_light": own,
    }


def light_change(photograph: Uint8Array, degraded: Uint8Array, alpha: Uint8Array) -> float:
    """Mean difference between the relit and the photographed person, in levels of 255."""
    difference = cv2.mean(cv2.absdiff(photograph, degraded), alpha)
    return round(sum(difference[:3]) / 3, 3)


def _step(shape: tuple[int, ...]) -> int:
    """Stride for subsampling the pixels."""
    return max(1, max(shape) // _SMALL_SIDE)


def _small(picture: Uint8Array, step: int) -> Float32Array:
    """(h, w, 3) float32 linear."""
    return linear_from_bytes(np.ascontiguousarray(picture[::step, ::step]))
