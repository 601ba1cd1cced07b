"""Training a scene of real size on one GPU, beside the loop of gsplat's own example trainer, in one run.

    python tests/bench/scene_training.py [--steps 30000] [--ours 30000] [--side 1024] [--views 120] [--maximum 1000000]
        [--ways peer ours] [--profile] [--tiny] [--json FILE]

A synthetic room whose walls and objects have texture down to a pixel is photographed from many sides. ``peer`` is the
loop of gsplat 1.5's ``examples/simple_trainer.py mcmc`` with its defaults: pictures in GPU memory, fused Adam, and SSIM
as one compiled function. ``ours`` is the product's training. Both begin with the same points and are measured by the
same renderer at poses that neither has seen. Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show
from difix_step import busy

from scenewright_stages.vision.cameras import Camera, rigid
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start, scene_extent
from scenewright_stages.vision.gaussians.training import TrainingSettings, train

ROOM = (3.0, 1.5, 2.5)
"""Half the sides of the room in metres."""
BOXES = ((-1.2, 0.9, 0.8, 0.4, 0.6, 0.4), (1.1, 1.1, -0.5, 0.5, 0.4, 0.5), (0.2, 1.2, 1.4, 0.3, 0.3, 0.3))
"""Objects: centre and half sides."""
OCTAVES = (0.5, 1.5, 5.0, 16.0, 50.0, 150.0)
"""Grains of the texture per metre; a pixel of a wall three metres away is 1/340 m wide."""
FADING = 0.72
"""How much weaker each finer grain is. With 0.65 gsplat's trainer got above 36 dB: there was too little to learn."""
SUPERSAMPLED = 2


def cameras_of(count: int, side: int, seed: int) -> list[Camera]:
    """Looks from all over the middle of the room in all directions."""
    random, found = np.random.default_rng(seed), []
    for number in range(count):
        place = random.uniform(-1, 1, 3) * np.array([1.6, 0.6, 1.3])
        yaw, pitch = 2 * math.pi * number / count + random.normal() * 0.2, random.normal() * 0.2
        turn = np.array([
            [math.cos(yaw), 0.0, -math.sin(yaw)],
            [math.sin(pitch) * math.sin(yaw), math.cos(pitch), math.sin(pitch) * math.cos(yaw)],
            [math.cos(pitch) * math.sin(yaw), -math.sin(pitch), math.cos(pitch) * math.cos(yaw)],
        ])  # fmt: skip
        found.append(Camera.from_field_of_view(side, side, 70.0, rigid(turn, -turn @ place)))
    return found


@torch.no_grad()
def photograph(camera: Camera, device: str, world: int) -> tuple[Tensor, Tensor]:
    """(H, W, 3) colours, four samples a pixel, and (H, W) z-depth at the middle of each."""
    total = torch.zeros(camera.height, camera.width, 3, device=device)
    for row in range(SUPERSAMPLED):
        for column in range(SUPERSAMPLED):
            offset = ((column + 0.5) / SUPERSAMPLED, (row + 0.5) / SUPERSAMPLED)
            points, face, _ = _hit(camera, offset, device)
            total += _texture(points, face, world)
    _, _, depth = _hit(camera, (0.5, 0.5), device)
    return total / SUPERSAMPLED**2, depth


def _hit(camera: Camera, offset: tuple[float, float], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Where the rays through a place of every pixel end: points (H, W, 3), number of the surface, z-depth."""
    rows, columns = torch.meshgrid(
        torch.arange(camera.height, device=device), torch.arange(camera.width, device=device), indexing="ij"
    )
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    local = torch.stack(
        [(columns + offset[0] - cx) / fx, (rows + offset[1] - cy) / fy, torch.ones_like(rows, dtype=torch.float32)], -1
    )
    pose = torch.from_numpy(camera.world_from_camera.astype(np.float32)).to(device)
    rays, origin = local @ pose[:3, :3].T, pose[:3, 3]
    inverse = 1 / torch.where(rays.abs() < 1e-9, torch.full_like(rays, 1e-9), rays)
    room = torch.tensor(ROOM, device=device)
    depth, axis = torch.maximum((room - origin) * inverse, (-room - origin) * inverse).min(dim=-1)
    face = axis
    for number, box in enumerate(BOXES, start=1):
        centre, half = torch.tensor(box[:3], device=device), torch.tensor(box[3:], device=device)
        sides = torch.stack([(centre - half - origin) * inverse, (centre + half - origin) * inverse])
        near, near_axis = sides.amin(dim=0).max(dim=-1)
        hit = (near > 1e-3) & (near < sides.amax(dim=0).amin(dim=-1)) & (near < depth)
        depth, face = torch.where(hit, near, depth), torch.where(hit, near_axis + 3 * number, face)
    return origin + rays * depth[..., None], face, depth


def _texture(points: Tensor, face: Tensor, world: int) -> Tensor:
    """Colours of places on surfaces: noise of several grains, another on every surface."""
    colour = torch.full_like(points, 0.5)
    for number, grain in enumerate(OCTAVES):
        for channel in range(3):
            noise = _noise(points * grain, face * 131 + number * 17 + channel * 7 + world * 7919)
            colour[..., channel] += (noise - 0.5) * (0.55 * FADING**number)
    return colour.clamp(0.02, 0.98)


def _noise(points: Tensor, seed: Tensor) -> Tensor:
    """Value noise in [0, 1]: random numbers at whole places, smooth between them."""
    low = points.floor()
    share = points - low
    share = share * share * (3 - 2 * share)
    low = low.long()
    total = torch.zeros(points.shape[:-1], device=points.device)
    for corner in range(8):
        bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=points.device)
        weight = torch.where(bits.bool(), share, 1 - share).prod(dim=-1)
        mixed = (low + bits) * torch.tensor([73856093, 19349663, 83492791], device=points.device)
        hashed = mixed[..., 0] ^ mixed[..., 1] ^ mixed[..., 2] ^ (seed * 2654435761)
        hashed = (hashed ^ (hashed >> 13)) * 1274126177
        total += weight * (((hashed ^ (hashed >> 16)) & 0xFFFF).float() / 65535)
    return total


def start_of(cameras: Sequence[Camera], pictures: Sequence[Tensor], depths: Sequence[Tensor], count: int) -> Start:
    """Points as structure from motion leaves them: pixels of the views with a centimetre of noise."""
    random, points, colours = np.random.default_rng(5), [], []
    for camera, picture, depth in zip(cameras, pictures, depths, strict=True):
        chosen = random.choice(picture.shape[0] * picture.shape[1], count // len(cameras), replace=False)
        rows, columns = np.divmod(chosen, camera.width)
        (fx, fy), (cx, cy) = camera.focal, camera.principal_point
        metres = depth.flatten().cpu().numpy()[chosen].astype(np.float64)
        local = np.stack([(columns + 0.5 - cx) / fx * metres, (rows + 0.5 - cy) / fy * metres, metres], axis=1)
        points.append(local @ camera.world_from_camera[:3, :3].T + camera.position)
        colours.append(picture.reshape(-1, 3)[torch.from_numpy(chosen).to(picture.device)].cpu().numpy())
    places = np.concatenate(points)
    return Start(places + random.normal(size=places.shape) * 0.01, np.concatenate(colours), 0)


class Peer:
    """gsplat's example trainer with ``mcmc`` and its defaults.

    Args:
        start: points.
        views: photographs in GPU memory.
        steps: in all.
        maximum: Gaussians at most.
    """

    def __init__(self, start: Start, views: Sequence[View], steps: int, maximum: int) -> None:
        self._gsplat: Any = importlib.import_module("gsplat")
        self._views, self._steps = views, steps
        self._scale = scene_extent([view.camera for view in views])
        scene = start.scene(opacity=0.5)
        harmonics = torch.zeros(len(scene), 16, 3)
        harmonics[:, :1] = scene.spherical_harmonics[:, :1]
        # The trainer begins with a tenth of the distance to the neighbours.
        values = {
            "means": (scene.means, 1.6e-4 * self._scale),
            "scales": (scene.log_scales + math.log(0.1), 5e-3),
            "quats": (torch.rand(len(scene), 4), 1e-3),
            "opacities": (scene.opacity_logits, 5e-2),
            "sh0": (harmonics[:, :1], 2.5e-3),
            "shN": (harmonics[:, 1:], 2.5e-3 / 20),
        }
        self.splats = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(value.contiguous().cuda()) for name, (value, _) in values.items()}
        )
        self._optimisers = {
            name: torch.optim.Adam([self.splats[name]], lr=rate, eps=1e-15, fused=True)
            for name, (_, rate) in values.items()
        }
        self._schedule = torch.optim.lr_scheduler.ExponentialLR(self._optimisers["means"], 0.01 ** (1 / steps))
        # Growth ends at the same share of the training when it is shorter.
        self._strategy = self._gsplat.MCMCStrategy(cap_max=maximum, refine_stop_iter=int(steps * 25 / 30))
        self._state = self._strategy.initialize_state()
        self._loss = torch.compile(_l1_and_ssim)
        self._poses = [
            tuple(
                torch.from_numpy(matrix.astype(np.float32)).cuda()[None]
                for matrix in (view.camera.camera_from_world, view.camera.intrinsics)
            )
            for view in views
        ]
        self._order = np.random.default_rng(11)
        self._epoch: list[int] = []

    def step(self, number: int) -> None:
        """One step, from 0."""
        if not self._epoch:
            self._epoch = self._order.permutation(len(self._views)).tolist()
        chosen = self._epoch.pop()
        camera, (view, lens) = self._views[chosen].camera, self._poses[chosen]
        splats = self.splats
        pictures, _, info = self._gsplat.rasterization(
            splats["means"], splats["quats"], torch.exp(splats["scales"]), torch.sigmoid(splats["opacities"]),
            torch.cat([splats["sh0"], splats["shN"]], 1), view, lens, camera.width, camera.height,
            sh_degree=min(number // 1000, 3), near_plane=0.01, far_plane=1e10, packed=False,
        )  # fmt: skip
        loss = self._loss(pictures, self._views[chosen].srgb[None])
        loss = loss + 0.01 * torch.sigmoid(splats["opacities"]).mean() + 0.01 * torch.exp(splats["scales"]).mean()
        loss.backward()
        for optimiser in self._optimisers.values():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self._schedule.step()
        rate = self._schedule.get_last_lr()[0]
        self._strategy.step_post_backward(splats, self._optimisers, self._state, number, info, lr=rate)

    def warm_up(self) -> None:
        """Compiles the loss."""
        camera = self._views[0].camera
        picture = torch.rand(1, camera.height, camera.width, 3, device="cuda", requires_grad=True)
        for _ in range(2):
            self._loss(picture, self._views[0].srgb[None]).backward()

    def scene(self) -> GaussianScene:
        """As it is now."""
        held = {name: value.detach() for name, value in self.splats.items()}
        harmonics = torch.cat([held["sh0"], held["shN"]], 1)
        return GaussianScene(held["means"], held["scales"], held["quats"], held["opacities"], harmonics)


def _l1_and_ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """The trainer's loss, 0.8 L1 + 0.2 (1 - SSIM) with windows that lie inside the picture."""
    line = torch.exp(-((torch.arange(11, device=pictures.device) - 5.0) ** 2) / (2 * 1.5**2))
    line = (line / line.sum()).expand(15, 1, 1, 11)
    first, second = pictures.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2)
    moments = torch.cat([first, second, first * first, second * second, first * second], dim=1)
    moments = functional.conv2d(functional.conv2d(moments, line, groups=15), line.transpose(2, 3), groups=15)
    mean_x, mean_y, square_x, square_y, product = moments.chunk(5, dim=1)
    low, high = 0.01**2, 0.03**2
    both = (2 * mean_x * mean_y + low) * (2 * (product - mean_x * mean_y) + high)
    norm = (mean_x**2 + mean_y**2 + low) * (square_x - mean_x**2 + square_y - mean_y**2 + high)
    return 0.8 * (pictures - truth).abs().mean() + 0.2 * (1 - (both / norm).mean())


def run_peer(
    start: Start, views: Sequence[View], held: Sequence[View], options: argparse.Namespace, renderer: Renderer
) -> dict[str, Any]:
    """Readings of the peer, also after each 1,000 steps' share."""
    peer = Peer(start, views, options.steps, options.maximum)
    peer.warm_up()
    curve, marks = [], {round(options.steps * share / 10) for share in range(1, 11)}
    spent = 0.0
    with busy("cuda") as shares:
        began = _now()
        for number in range(options.steps):
            peer.step(number)
            if number + 1 in marks:
                spent += _now() - began
                quality = evaluate(peer.scene(), held, renderer).to_json()
                curve.append([number + 1, round(spent, 1), len(peer.splats["means"]), quality["psnr"]])
                print("peer", curve[-1], file=sys.stderr, flush=True)
                began = _now()
    if options.profile:
        print(profiled(lambda: [peer.step(options.steps - 1) for _ in range(20)]), file=sys.stderr)
    return readings(peer.scene(), held, renderer, spent, options.steps, shares, curve)


def run_ours(
    start: Start, views: Sequence[View], held: Sequence[View], options: argparse.Namespace, renderer: Renderer
) -> dict[str, Any]:
    """Readings of the product."""
    settings = TrainingSettings(
        steps=options.ours, segment=options.segment, maximum=options.maximum, harmonics_degree=3, exploration=True,
        growth=options.growth, coarse=options.coarse, growth_until=options.until,
    )  # fmt: skip
    curve: list[list[float]] = []
    spent, began = 0.0, _now()

    def note(steps: int, scene: GaussianScene, loss: float) -> None:
        nonlocal spent, began
        spent += _now() - began
        if len(curve) < 10 * steps / options.ours - 0.5 or steps == options.ours:
            curve.append([steps, round(spent, 1), len(scene), evaluate(scene, held, renderer).to_json()["psnr"]])
            print("ours", curve[-1], round(loss, 4), file=sys.stderr, flush=True)
        began = _now()

    with busy(str(renderer.device)) as shares:
        scene = train(start, views, settings, 3, renderer, on_segment=note)
    if options.profile:
        last = settings.segments() - 1
        print(
            profiled(lambda: train(scene, views, settings, 3, renderer, done=last * settings.segment)), file=sys.stderr
        )
    return readings(scene, held, renderer, spent, options.ours, shares, curve)


def readings(
    scene: GaussianScene,
    held: Sequence[View],
    renderer: Renderer,
    seconds: float,
    steps: int,
    shares: Sequence[float],
    curve: list[list[float]],
) -> dict[str, Any]:
    """What is said of each way."""
    return {
        "seconds": round(seconds, 2),
        "seconds_for_1000_steps": round(1000 * seconds / steps, 3),
        "steps": steps,
        "gaussians": len(scene),
        **evaluate(scene, held, renderer).to_json(),
        "busy": round(sum(shares) / len(shares), 3) if shares else None,
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if renderer.device.type == "cuda" else 0.0,
        "curve": curve,
    }


def profiled(work: Callable[[], object]) -> str:
    """A table of the kernels that take longest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        work()
        _now()
    return str(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--ours", type=int, default=30_000)
    parser.add_argument("--segment", type=int, default=200)
    parser.add_argument("--coarse", type=int, default=4)
    parser.add_argument("--growth", type=float, default=0.5)
    parser.add_argument("--until", type=float, default=0.8, help="share of the steps in which ours grows")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--views", type=int, default=120)
    parser.add_argument("--held", type=int, default=12)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--maximum", type=int, default=1_000_000)
    parser.add_argument("--world", type=int, default=0, help="of the three synthetic captures, 0 to 2")
    parser.add_argument("--ways", nargs="+", choices=("peer", "ours"), default=["peer", "ours"])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="our way alone, on the CPU: tries the script")
    parser.add_argument("--picture", type=Path, help="write the first photograph here")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    options = parsed()
    device = "cpu" if options.tiny else "cuda"
    renderer = renderer_for("cpu" if options.tiny else "gsplat")
    cameras = cameras_of(options.views + options.held, options.side, options.world)
    began = _now()
    shots = [photograph(camera, device, options.world) for camera in cameras]
    print(f"{len(shots)} photographs in {_now() - began:.1f} s", file=sys.stderr, flush=True)
    if options.picture:
        import cv2

        cv2.imwrite(str(options.picture), (shots[0][0].cpu().numpy()[..., ::-1] * 255).astype(np.uint8))
    every = max(2, len(cameras) // options.held)
    roles = [number % every == every // 2 for number in range(len(cameras))]
    views = [View(camera, picture) for camera, (picture, _) in zip(cameras, shots, strict=True)]
    seen = [view for view, out in zip(views, roles, strict=True) if not out]
    held = [view for view, out in zip(views, roles, strict=True) if out]
    inside = [number for number, out in enumerate(roles) if not out]
    start = start_of(
        [cameras[n] for n in inside], [shots[n][0] for n in inside], [shots[n][1] for n in inside], options.points
    )
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "views": len(seen), "held": len(held)}
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
        evaluate(start.scene().to("cuda"), held[:1], renderer)
    for way in ["ours"] if options.tiny else options.ways:
        found[way] = (run_peer if way == "peer" else run_ours)(start, seen, held, options, renderer)
        if options.json:
            # A way takes minutes: what is measured is not lost with the next one.
            options.json.write_text(json.dumps(found, indent=1))
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    if {"peer", "ours"} <= set(found):
        found["ratio"] = round(found["ours"]["seconds"] / found["peer"]["seconds"], 3)
        found["psnr_above_peer"] = round(found["ours"]["psnr"] - found["peer"]["psnr"], 3)
    show(found, options.json)


if __name__ == "__main__":
    main()
