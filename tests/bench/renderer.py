"""Speed of the CPU renderer against the same mathematics in torch, in one run.

    python tests/bench/renderer.py [--json FILE] [--without-dense]

One forward and backward pass of 20,000 Gaussians (median standard deviation 1.5 px, opacities 0.1 to 0.9)
at 256x256. Peers: a vectorised torch version that pads every tile's list to the longest one, and a dense
one that evaluates every Gaussian at every pixel. All three must agree on the gradients. Exit code 1 if a
bar is missed: at most 40 ms, at least 10 times the tile-padded and 200 times the dense version.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "stages" / "gaussians"))
from dense_reference import Splats, composited, projected

from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

TILE = 16
TILES_PER_CHUNK = 32
DENSE_ROW_STEP = 16
MILLISECONDS_BAR, PADDED_BAR, DENSE_BAR = 40.0, 10.0, 200.0
GRADIENT_TOLERANCE = 1e-2

Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Gradient = dict[str, torch.Tensor]
Step = Callable[[GaussianScene, Camera, Weights], Gradient]


@dataclass(frozen=True)
class Reading:
    """Milliseconds of one implementation, and how far its gradients are from the tile-padded version's.

    processor is the least time of all threads together: it tells load on the machine from slow code.
    The dense version draws only a share of the rows; its times are divided by that share.
    """

    name: str
    median: float
    minimum: float
    processor: float
    runs: int
    gradient_error: float
    rows_share: float = 1.0


def benchmark_scene(count: int, camera: Camera) -> GaussianScene:
    """Gaussians all over the picture, 2 to 6 m away, median standard deviation 1.5 px along each axis."""
    random = torch.Generator().manual_seed(0)
    depth = 2 + 4 * torch.rand(count, generator=random)
    (fx, _), (cx, cy) = camera.focal, camera.principal_point
    pixel = torch.rand(count, 2, generator=random) * torch.tensor([camera.width, camera.height])
    means = torch.stack([(pixel[:, 0] - cx) / fx * depth, (pixel[:, 1] - cy) / fx * depth, depth], dim=1)
    spread = 0.3 * torch.randn(count, 3, generator=random)
    opacity = 0.1 + 0.8 * torch.rand(count, generator=random)
    return GaussianScene(
        means,
        (1.5 * depth / fx).log()[:, None] + spread,
        torch.randn(count, 4, generator=random),
        torch.logit(opacity),
        torch.randn(count, 1, 3, generator=random),
    )


def leaves(scene: GaussianScene) -> GaussianScene:
    return GaussianScene(**{name: t.clone().requires_grad_() for name, t in scene.tensors.items()})


def compiled_step(scene: GaussianScene, camera: Camera, weights: Weights) -> Gradient:
    """This project's kernels."""
    moving = leaves(scene)
    drawn = renderer_for("cpu").render(moving, [camera])
    depth_sum = drawn.depth[0] * drawn.alpha[0]
    outputs = (drawn.rgb[0], depth_sum, drawn.alpha[0])
    loss = sum(((o * w).sum() for o, w in zip(outputs, weights, strict=True)), torch.zeros(()))
    torch.autograd.backward(loss)
    return gradient_of(moving)


def padded_step(scene: GaussianScene, camera: Camera, weights: Weights) -> Gradient:
    """Every tile's list padded to the longest, tiles in chunks; each chunk's backward runs at once."""
    moving = leaves(scene)
    splats = projected(moving, camera)
    detached = detach(splats)
    lists = tile_lists(detached, camera)
    columns = camera.width // TILE
    for start in range(0, len(lists), TILES_PER_CHUNK):
        tiles = torch.arange(start, min(start + TILES_PER_CHUNK, len(lists)))
        local = torch.arange(TILE * TILE)
        x = (tiles % columns * TILE)[:, None] + local % TILE
        y = torch.div(tiles, columns, rounding_mode="floor")[:, None] * TILE + local // TILE
        backward_pixels(detached, lists[tiles], x, y, weights)
    return chained(moving, splats, detached)


def dense_step(scene: GaussianScene, camera: Camera, weights: Weights) -> Gradient:
    """Every Gaussian at every pixel of the rows that have a weight, two rows at a time to bound memory."""
    moving = leaves(scene)
    splats = projected(moving, camera)
    detached = detach(splats)
    everything = torch.arange(len(splats[0]))[None]
    for rows in torch.split(torch.nonzero(weights[2].any(dim=1)).flatten(), 2):
        y, x = torch.meshgrid(rows, torch.arange(camera.width), indexing="ij")
        backward_pixels(detached, everything, x.reshape(1, -1), y.reshape(1, -1), weights)
    return chained(moving, splats, detached)


def detach(splats: Splats) -> Splats:
    means, inverse, opacity, colour, depth = (tensor.detach().requires_grad_() for tensor in splats)
    return means, inverse, opacity, colour, depth


def chained(scene: GaussianScene, splats: Splats, detached: Splats) -> Gradient:
    """Carry the splats' accumulated gradients on to the scene."""
    torch.autograd.backward(splats, [tensor.grad for tensor in detached])
    return gradient_of(scene)


def gradient_of(scene: GaussianScene) -> Gradient:
    return {name: torch.zeros_like(t) if t.grad is None else t.grad for name, t in scene.tensors.items()}


def tile_lists(splats: Splats, camera: Camera) -> torch.Tensor:
    """(T, L) splat indices of each tile front to back, -1 as padding."""
    means, inverse, opacity = (tensor.detach() for tensor in splats[:3])
    covariance = torch.linalg.inv(inverse).diagonal(dim1=1, dim2=2)
    reach = torch.sqrt(2 * torch.log(opacity * 255))[:, None] * covariance.sqrt()
    first, last = torch.floor((means - reach) / TILE), torch.floor((means + reach) / TILE)
    lists = []
    for tile in range((camera.width // TILE) * (camera.height // TILE)):
        column, row = tile % (camera.width // TILE), tile // (camera.width // TILE)
        inside = (first[:, 0] <= column) & (last[:, 0] >= column)
        lists.append(torch.nonzero(inside & (first[:, 1] <= row) & (last[:, 1] >= row)).flatten())
    return torch.nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=-1)


def backward_pixels(splats: Splats, lists: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weights: Weights) -> None:
    """Draw pixels (T, P) of T groups with their splats (T, L) and run the way back into the splats."""
    present = lists >= 0
    means, inverse, opacity, colour, depth = (tensor[lists.clamp(min=0)] for tensor in splats)
    dx = means[:, None, :, 0] - (x[..., None] + 0.5)
    dy = means[:, None, :, 1] - (y[..., None] + 0.5)
    a, b, c = inverse[:, None, :, 0, 0], inverse[:, None, :, 0, 1], inverse[:, None, :, 1, 1]
    alpha = opacity[:, None] * torch.exp(-(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy))
    values = torch.cat([colour, depth[..., None]], dim=-1)[:, None]
    blended, coverage = composited(alpha * present[:, None], values)
    wanted = [weight[y, x] for weight in weights]
    loss = (blended[..., :3] * wanted[0]).sum()
    loss = loss + (blended[..., 3] * wanted[1]).sum() + (coverage * wanted[2]).sum()
    torch.autograd.backward(loss)


def timed(
    name: str, step: Step, runs: int, scene: GaussianScene, camera: Camera, weights: Weights, truth: Gradient
) -> Reading:
    """Median over runs, after one that is not counted unless there is only one."""
    durations, processor = [], []
    gradient: Gradient = {}
    for _ in range(runs if runs == 1 else runs + 1):
        started, busy = time.perf_counter(), time.process_time()
        gradient = step(scene, camera, weights)
        durations.append(1000 * (time.perf_counter() - started))
        processor.append(1000 * (time.process_time() - busy))
    counted = durations[-runs:]
    error = max(float((gradient[k] - truth[k]).norm() / truth[k].norm()) for k in truth if truth[k].norm() > 0)
    return Reading(name, statistics.median(counted), min(counted), min(processor[-runs:]), runs, error)


def measure(count: int, size: int, runs: int, with_dense: bool) -> list[Reading]:
    camera = Camera.from_field_of_view(size, size, 60.0)
    scene, random = benchmark_scene(count, camera), torch.Generator().manual_seed(1)
    shapes = ((size, size, 3), (size, size), (size, size))
    colour, depth, alpha = (torch.randn(shape, generator=random) for shape in shapes)
    weights = (colour, depth, alpha)
    truth = padded_step(scene, camera, weights)
    plan: list[tuple[str, Step, int]] = [("compiled", compiled_step, runs), ("tile-padded torch", padded_step, 3)]
    readings = [timed(name, step, n, scene, camera, weights, truth) for name, step, n in plan]
    if with_dense:
        readings.append(measure_dense(scene, camera, weights))
    return readings


def measure_dense(scene: GaussianScene, camera: Camera, weights: Weights) -> Reading:
    rows = torch.arange(camera.height) % DENSE_ROW_STEP == 0
    colour, depth, alpha = (weight * rows.view(-1, *[1] * (weight.dim() - 1)) for weight in weights)
    few = (colour, depth, alpha)
    share = float(rows.float().mean())
    reading = timed("dense torch", dense_step, 1, scene, camera, few, padded_step(scene, camera, few))
    return replace(
        reading,
        median=reading.median / share,
        minimum=reading.minimum / share,
        processor=reading.processor / share,
        rows_share=share,
    )


def verdicts(readings: list[Reading]) -> dict[str, bool]:
    """Each bar by name, met or not; ratios are between minima, which other load disturbs least."""
    ours, padded, *dense = readings
    result = {
        f"at most {MILLISECONDS_BAR:g} ms": ours.median <= MILLISECONDS_BAR,
        f"{PADDED_BAR:g} x tile-padded": padded.minimum >= PADDED_BAR * ours.minimum,
        "gradients agree": max(r.gradient_error for r in readings) <= GRADIENT_TOLERANCE,
    }
    if dense:
        result[f"{DENSE_BAR:g} x dense"] = dense[0].minimum >= DENSE_BAR * ours.minimum
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=256, help="pixels a side, a multiple of 16")
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--without-dense", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    readings = measure(options.count, options.size, options.runs, not options.without_dense)
    bars = verdicts(readings)
    print(f"{options.count} Gaussians at {options.size}x{options.size}, forward and backward")
    print(f"{'':20}{'median ms':>12}{'minimum ms':>12}{'processor ms':>14}{'ratio':>8}{'gradient error':>16}")
    for reading in readings:
        ratio = reading.minimum / readings[0].minimum
        times = f"{reading.median:12.1f}{reading.minimum:12.1f}{reading.processor:14.1f}"
        print(f"{reading.name:20}{times}{ratio:8.0f}{reading.gradient_error:16.1e}")
    for name, met in bars.items():
        print(f"{'met   ' if met else 'MISSED'} {name}")
    if options.json:
        threads = {"torch": torch.get_num_threads(), "processors": os.cpu_count()}
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__, **threads}
        content = {"readings": [asdict(r) for r in readings], "bars": bars, "machine": machine}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
