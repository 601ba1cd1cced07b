"""The captures of ``scene_training.py``: a synthetic room with texture down to a pixel, photographed from many sides.

Three rooms differ in their texture. A start is points as structure from motion leaves them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.start import Start
from scenewright_stages.vision.geometry.cameras import Camera, rigid

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


@dataclass(frozen=True, eq=False)
class Capture:
    """Photographs to train from, others to measure by, and points to begin with."""

    seen: list[View]
    held: list[View]
    start: Start


def capture(world: int, side: int, views: int, held: int, points: int, device: str) -> Capture:
    """One of the synthetic captures, 0 to 2."""
    cameras = cameras_of(views + held, side, world)
    shots = [photograph(camera, device, world) for camera in cameras]
    every = max(2, len(cameras) // held)
    out = [number % every == every // 2 for number in range(len(cameras))]
    taken = [View(camera, picture) for camera, (picture, _) in zip(cameras, shots, strict=True)]
    inside = [number for number, each in enumerate(out) if not each]
    start = start_of([cameras[n] for n in inside], [shots[n][0] for n in inside], [shots[n][1] for n in inside], points)
    return Capture([taken[n] for n in inside], [view for view, each in zip(taken, out, strict=True) if each], start)
