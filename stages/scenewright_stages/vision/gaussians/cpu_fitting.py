"""The fitting loop on the CPU: compiled kernels from projection to Adam, no autograd.

Only tiles with moving (trainable) splats are redrawn, because the rest of the image is constant and has no
gradient. The still Gaussians of each view are rendered once and cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians import cpu_renderer
from scenewright_stages.vision.gaussians.cpu_renderer import Canvas, Splats, scene_arrays
from scenewright_stages.vision.gaussians.kernels import loss as kernels
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.kernels.layout import TILE, Array, SceneArrays, Viewpoint
from scenewright_stages.vision.gaussians.mcmc import explore, noise_draws
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, Progress, View, report
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene

_REAL = np.float32
# Byte budget for still splats and canvases cached between iterations.
_CACHE_BYTES = 1 << 30


def fit(
    scene: GaussianScene,
    views: Sequence[View],
    settings: OptimisationSettings,
    sequence: NDArray[np.int64],
    renderer: Renderer,
    rows: NDArray[np.int64],
    on_progress: Progress | None,
    seed: int = 0,
) -> tuple[GaussianScene, NDArray[np.float32]]:
    """See `optimisation.optimise`; sequence names the view of each iteration, rows what may change.

    The seed is that of the noise on the means.
    """
    moving, still = _split(scene, rows)
    states = _ViewStates(views, settings, still)
    optimiser = _Adam(moving.scene, settings, seed)
    losses = np.zeros(settings.iterations, np.float32)
    for iteration, index in enumerate(sequence):
        losses[iteration] = states[int(index)].gradient(moving, optimiser.gradient)
        optimiser.step(iteration + 1)
        report(on_progress, iteration + 1, settings.iterations)
    return _joined(scene, rows, moving.scene), losses


@dataclass(frozen=True)
class _Part:
    """Some rows of a scene, with their int32 indices in the whole scene."""

    scene: SceneArrays
    ids: Array


def _split(scene: GaussianScene, rows: NDArray[np.int64]) -> tuple[_Part, _Part]:
    arrays = scene_arrays([tensor.float() for tensor in scene.tensors.values()])
    others = np.setdiff1d(np.arange(len(scene)), rows, assume_unique=True)
    moving = _Part(arrays.select(rows), rows.astype(np.int32))
    return moving, _Part(arrays.select(others), others.astype(np.int32))


def _joined(scene: GaussianScene, rows: NDArray[np.int64], moving: SceneArrays) -> GaussianScene:
    result = scene.clone()
    index = torch.from_numpy(rows)
    for tensor, group in zip(result.tensors.values(), moving, strict=True):
        tensor[index] = torch.from_numpy(group).to(tensor.dtype)
    return result


class _Adam:
    """In-place Adam over the five parameter groups, and noise; fill `gradient` before each step."""

    def __init__(self, values: SceneArrays, settings: OptimisationSettings, seed: int) -> None:
        self.gradient = values.zeros()
        self._values, self._settings = values, settings
        self._first, self._second = values.zeros(), values.zeros()
        self._rates = _column_rates(values, settings)
        self._largest = values.log_scales + _REAL(np.log(settings.largest_growth))
        colour, reach = values.harmonics[:, 0], _REAL(settings.largest_colour_change / C0)
        self._colours = (colour - reach, colour + reach) if np.isfinite(reach) else None
        self._draws = noise_draws(len(values.means), torch.device("cpu"), seed)

    def step(self, number: int) -> None:
        """Apply the gradient (step numbers start at 1) and clear it."""
        self._rates[0][:] = self._settings.means_rate_at(number)
        self._regularise()
        states = (self._values, self.gradient, self._first, self._second)
        for *arrays, rates in zip(*states, self._rates, strict=True):
            matrices = [array.reshape(len(array), rates.size) for array in arrays]
            value, gradient, first, second = matrices
            beta1, beta2 = self._settings.adam_betas
            kernels.adam(value, gradient, first, second, rates, number, beta1, beta2, self._settings.adam_epsilon)
            arrays[1][:] = 0
        np.minimum(self._values.log_scales, self._largest, out=self._values.log_scales)
        if self._colours is not None:
            np.clip(self._values.harmonics[:, 0], *self._colours, out=self._values.harmonics[:, 0])
        if self._settings.noise > 0:
            leaves = [torch.from_numpy(array) for array in self._values[:4]]
            explore(self._draws(), self._settings.noise * self._settings.means_rate_at(number), *leaves)

    def _regularise(self) -> None:
        """Adds the gradients of the mean opacity and the mean standard deviation."""
        values, settings, count = self._values, self._settings, max(1, len(self._values.means))
        if settings.opacity_weight > 0:
            opacity = 1 / (1 + np.exp(-values.opacity_logits))
            self.gradient.opacity_logits[:] += _REAL(settings.opacity_weight / count) * opacity * (1 - opacity)
        if settings.scale_weight > 0:
            self.gradient.log_scales[:] += _REAL(settings.scale_weight / (3 * count)) * np.exp(values.log_scales)


def _column_rates(values: SceneArrays, settings: OptimisationSettings) -> list[Array]:
    harmonics = np.full(values.harmonics.shape[1:], settings.harmonics_rate, _REAL)
    harmonics[1:] *= settings.higher_harmonics_factor
    return [
        np.full(3, settings.means_rate, _REAL),
        np.full(3, settings.log_scales_rate, _REAL),
        np.full(4, settings.quaternions_rate, _REAL),
        np.full(1, settings.opacity_logits_rate, _REAL),
        harmonics.reshape(-1),
    ]


class _ViewStates:
    """LRU cache of view states with a byte budget."""

    def __init__(self, views: Sequence[View], settings: OptimisationSettings, still: _Part) -> None:
        self._views, self._settings, self._still = views, settings, still
        self._view_states: OrderedDict[int, _ViewState] = OrderedDict()

    def __getitem__(self, index: int) -> _ViewState:
        state = self._view_states.pop(index, None)
        if state is None:
            state = _ViewState(self._views[index], self._settings, self._still)
        self._view_states[index] = state
        while len(self._view_states) > 1 and sum(kept.bytes for kept in self._view_states.values()) > _CACHE_BYTES:
            self._view_states.popitem(last=False)
        return state


class _ViewState:
    """One view: its target, the still splats, and the canvas that iterations repaint."""

    def __init__(self, view: View, settings: OptimisationSettings, still: _Part) -> None:
        self._viewpoint = Viewpoint.of(view.camera, _REAL)
        self._still = _splats(still, self._viewpoint)
        self._canvas = Canvas.empty(self._viewpoint.width, self._viewpoint.height, _REAL)
        self._loss = _Loss(view, settings)
        self._painted = np.arange(self._viewpoint.tile_grid[0] * self._viewpoint.tile_grid[1])
        arrays = (*vars(self._still).values(), *vars(self._canvas).values(), *self._loss.arrays)
        self.bytes = sum(array.nbytes for array in arrays)

    def gradient(self, moving: _Part, gradient: SceneArrays) -> float:
        """Repaints, writes dL/dscene of the visible moving rows, and returns the loss."""
        splats = _splats(moving, self._viewpoint)
        active = splats.tiles
        # Tiles that all moving splats have left since the last visit show only still splats again.
        lists = cpu_renderer.merge(splats, self._still, np.union1d(active, self._painted))
        cpu_renderer.draw(lists, splats, self._still, self._canvas)
        self._painted = active
        loss = self._loss.evaluate(self._canvas, lists.tiles)
        if len(active) > 0:
            slots = cpu_renderer.draw_backward(lists, splats, self._still, self._canvas, *self._loss.pixel_gradients)
            cpu_renderer.project_backward(moving.scene, self._viewpoint, splats, slots, gradient)
        return loss


def _splats(part: _Part, viewpoint: Viewpoint) -> Splats:
    if len(part.ids) == 0:
        return cpu_renderer.empty_splats(viewpoint, _REAL)
    return cpu_renderer.project_scene(part.scene, viewpoint, part.ids)


@dataclass(frozen=True)
class _Target:
    """A view for the loss kernels: colour (3, H, W), mask (H, W) 0 or 1, blurred colour moments."""

    colour: Array
    mask: Array
    mean: Array
    square: Array
    scale: float


class _Loss:
    """Loss and pixel gradients of one view, recomputed only around repainted tiles."""

    def __init__(self, view: View, settings: OptimisationSettings) -> None:
        self._settings = settings
        self._weights = kernels.window_weights(_REAL)
        self._target = _prepared(view, self._weights)
        shape = self._target.mask.shape
        self._moments, self._scratch, self._blurred = (np.zeros((9, *shape), _REAL) for _ in range(3))
        self._map = np.zeros(shape, _REAL)
        self._depth, self._depth_weight = _depth_target(view, settings, self._target.mask)
        self._coverage = self._target.mask * _REAL(settings.coverage_weight)
        d_colour, d_transmittance = np.zeros((*shape, 3), _REAL), self._coverage * _REAL(self._target.scale)
        self.pixel_gradients = (d_colour, np.zeros(shape, _REAL), d_transmittance)

    @property
    def arrays(self) -> list[Array]:
        buffers = [self._moments, self._scratch, self._blurred, self._map, *self.pixel_gradients]
        return [*buffers, self._target.colour, self._target.mean, self._target.square]

    def evaluate(self, canvas: Canvas, tiles: Array) -> float:
        """Mean loss over the supervised pixels; tiles are those repainted since the last call."""
        if len(tiles) > 0:
            # A repainted pixel changes the loss within half a window around it.
            inner = _pixel_box(tiles, self._map.shape)
            self._evaluate_box(canvas, inner, _grown(inner, kernels.HALF_WINDOW, self._map.shape))
        uncovered = kernels.weighted_total(self._coverage, canvas.transmittance)
        return (kernels.total(self._map) + uncovered) * self._target.scale

    def _evaluate_box(self, canvas: Canvas, inner: Array, box: Array) -> None:
        """Updates the loss inside `box`; gradients are valid inside `inner`, which contains all repainted tiles."""
        target, settings = self._target, self._settings
        if settings.ssim_weight > 0:
            self._evaluate_ssim(canvas, inner, box)
        else:
            self._map[box[0] : box[1], box[2] : box[3]] = 0
        kernels.colour_loss(
            canvas.colour,
            target.colour,
            target.mask,
            _REAL(settings.beta),
            _REAL(settings.ssim_weight),
            self._blurred,
            box,
            _REAL(target.scale),
            self._map,
            self.pixel_gradients[0],
        )
        if self._depth is not None:
            kernels.depth_loss(
                canvas.depth_sum,
                canvas.transmittance,
                self._depth,
                self._depth_weight,
                self._coverage,
                box,
                _REAL(target.scale),
                self._map,
                *self.pixel_gradients[1:],
            )

    def _evaluate_ssim(self, canvas: Canvas, inner: Array, box: Array) -> None:
        target, shape = self._target, self._map.shape
        around = _grown(box, kernels.HALF_WINDOW, shape)
        kernels.compare_inputs(canvas.colour, target.colour, target.mask, around, self._moments)
        kernels.blur(self._moments, self._weights, box, self._scratch, self._blurred)
        kernels.ssim_terms(self._blurred, target.mean, target.square, target.mask, box, self._moments, self._map)
        kernels.blur(self._moments, self._weights, inner, self._scratch, self._blurred)


def _prepared(view: View, weights: Array) -> _Target:
    colour = np.ascontiguousarray(view.srgb.detach().cpu().numpy().transpose(2, 0, 1), _REAL)
    mask = np.ascontiguousarray(view.supervised().cpu().numpy(), _REAL)
    whole = np.array([0, mask.shape[0], 0, mask.shape[1]])
    mean, square, scratch = (np.zeros_like(colour) for _ in range(3))
    kernels.blur(colour, weights, whole, scratch, mean)
    kernels.blur(colour * colour, weights, whole, scratch, square)
    return _Target(colour, mask, mean, square, scale=view.weight / max(1.0, float(mask.sum())))


def _depth_target(view: View, settings: OptimisationSettings, mask: Array) -> tuple[Array | None, Array]:
    if view.depth is None or settings.depth_weight == 0:
        return None, mask
    depth = np.ascontiguousarray(view.depth.detach().cpu().numpy(), _REAL)
    valid = np.isfinite(depth) & (depth > 0)
    return np.where(valid, depth, _REAL(0)), mask * valid * _REAL(settings.depth_weight)


def _pixel_box(tiles: Array, shape: tuple[int, ...]) -> Array:
    """(top, bottom, left, right) of the pixels that the tiles cover."""
    rows, columns = np.divmod(tiles, -(-shape[1] // TILE))
    low_high = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    box = np.array(low_high) * TILE
    return np.asarray(np.minimum(box, (shape[0], shape[0], shape[1], shape[1])))


def _grown(box: Array, margin: int, shape: tuple[int, ...]) -> Array:
    grown = box + np.array([-margin, margin, -margin, margin])
    return np.asarray(np.clip(grown, 0, (shape[0], shape[0], shape[1], shape[1])))
