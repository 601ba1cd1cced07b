"""MapAnything as a geometry estimator: fits pictures to the network, and turns its rays into cameras.

The published program fits pictures by cutting them to one of ten shapes. Here they are resized to whole patches and
seen whole, so that cameras and maps are those of the pictures that were given. For pictures of these shapes both are
the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.backends.geometry.interface import ViewGeometry, check_view_geometry
from scenewright_stages.backends.geometry.map_anything.network import (
    MapAnythingNetwork,
    MapAnythingShape,
    expected_shapes,
    first_name,
)
from scenewright_stages.backends.geometry.vggt.transformer import IMAGENET_DEVIATION, IMAGENET_MEAN
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.checkpoints import check_tensors, network_shape
from scenewright_stages.backends.runtime.errors import BackendContractError, BrokenWeights
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.geometry.cameras import (
    Camera,
    intrinsics_matrix,
    invert_rigid,
    rigid,
    rotation_from_quaternion,
)
from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.types import Float32Array

CHECKPOINT = "model.safetensors"
_AHEAD = 1e-3
"""Least share of a ray that points ahead, for a pinhole camera."""


class MapAnything:
    """A ``GeometryEstimator``: metric depth and cameras.

    Args:
        network: with its weights.
        record: of the backend; its precision is the transformers' arithmetic.
        device: where the network runs.
    """

    def __init__(self, network: MapAnythingNetwork, record: BackendRecord, device: str = "cpu") -> None:
        self._network: MapAnythingNetwork | None = network
        self._device = device
        self.record = record

    @torch.inference_mode()
    def estimate(self, pictures: Sequence[Float32Array]) -> list[ViewGeometry]:
        """See ``GeometryEstimator.estimate``; the maps have the network's size, and the unit is the metre.

        Pixels that have no distance, such as sky, get the confidence 0.
        """
        if self._network is None:
            raise RuntimeError("map-anything was released")
        if not pictures or len({picture.shape for picture in pictures}) != 1:
            raise ValueError("estimating geometry needs pictures, all of one size")
        rows, columns = pictures[0].shape[:2]
        size = fitting_size(rows, columns, self._network.shape)
        given = torch.stack([normalised(each, size) for each in pictures]).to(self._device)
        dtype = torch_dtype(self.record.precision)
        answer = self._network(given, None if dtype == torch.float32 else dtype)
        rays, distance = (each.double().cpu().numpy() for each in (answer.rays, answer.distance))
        sure = torch.where(answer.certain > 0.5, answer.confidence, 0.0).cpu().numpy()
        places, turns = (each.double().cpu().numpy() for each in (answer.translations, answer.turns))
        found = []
        for number in range(len(pictures)):
            camera = camera_of(rays[number], places[number], turns[number])
            depth = (rays[number, ..., 2] * distance[number]).astype(np.float32)
            found.append(check_view_geometry(ViewGeometry(camera, depth, sure[number])))
        return found

    def release(self) -> None:
        """Free the model's memory."""
        self._network = None
        free_memory()


def fitting_size(height: int, width: int, shape: MapAnythingShape) -> tuple[int, int]:
    """Rows and columns of pixels: the longer side as in training, both in whole patches."""
    longest = shape.grid / max(height, width)
    rows, columns = (max(1, math.floor(side * longest + 0.5)) * shape.patch for side in (height, width))
    return rows, columns


def normalised(srgb: Float32Array, size: tuple[int, int]) -> torch.Tensor:
    """(3, H, W) the picture resized in 8 bits as the published program does it, with ImageNet's mean and deviation.

    Args:
        srgb: (rows, columns, 3) in [0, 1].
        size: rows and columns of the result.
    """
    smaller = size[0] <= srgb.shape[0] and size[1] <= srgb.shape[1]
    picture = Image.fromarray(uint8_from_unit(srgb))
    if size != srgb.shape[:2]:
        how = Image.Resampling.LANCZOS if smaller else Image.Resampling.BICUBIC
        picture = picture.resize((size[1], size[0]), how)
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return (pixels - mean) / deviation


def camera_of(rays: NDArray[np.float64], place: NDArray[np.float64], turn: NDArray[np.float64]) -> Camera:
    """The pinhole camera that fits a picture's rays best.

    Args:
        rays: (H, W, 3) unit directions, OpenCV axes.
        place: (3,) of the camera in the world.
        turn: (4,) quaternion (x, y, z, w) of ``world_from_camera``.

    Raises:
        BackendContractError: a ray does not point ahead, the rays are no camera's, or a number is not finite.
    """
    height, width = rays.shape[:2]
    if not (np.isfinite(rays).all() and np.isfinite(place).all() and (rays[..., 2] > _AHEAD).all() and turn.any()):
        raise BackendContractError("the model answered rays that no pinhole camera has")
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    (fx, cx), (fy, cy) = (_line(rays[..., axis] / rays[..., 2], pixels) for axis, pixels in enumerate((across, down)))
    if not (fx > 0 and fy > 0):
        raise BackendContractError("the model answered rays that no pinhole camera has")
    x, y, z, w = turn
    world_from_camera = rigid(rotation_from_quaternion((w, x, y, z)), place)
    return Camera(intrinsics_matrix(fx, fy, cx, cy), width, height, invert_rigid(world_from_camera))


def _line(slopes: NDArray[np.float64], pixels: NDArray[np.float64]) -> tuple[float, float]:
    """Focal length and centre with the least squared error of ``pixel = focal * slope + centre``."""
    spread = slopes - slopes.mean()
    focal = float((spread * pixels).sum() / max((spread**2).sum(), np.finfo(np.float64).tiny))
    return focal, float(pixels.mean() - focal * slopes.mean())


def load_network(folder: Path, weights_id: str, device: str = "cpu") -> MapAnythingNetwork:
    """The network of a folder of weights, in float32.

    Raises:
        BrokenWeights: the checkpoint cannot be read, or a tensor's name or shape is not the network's.
    """
    path = folder / CHECKPOINT
    with torch.device("meta"):
        network = MapAnythingNetwork(network_shape(folder, weights_id, MapAnythingShape(), MapAnythingShape.from_json))
    check_tensors(path, expected_shapes(network), weights_id, "MapAnything", first_name)
    used = network.state_dict()
    try:
        with safetensors.safe_open(path, "pt", device=device) as file:
            names = {first_name(name): name for name in file.keys()}  # noqa: SIM118
            # Do not load the encoders of given geometry.
            tensors = {name: file.get_tensor(names[name]).float() for name in used}
    except (OSError, safetensors.SafetensorError) as error:
        raise BrokenWeights(weights_id, path, f"it cannot be read: {error}") from error
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def load_map_anything(request: LoadRequest) -> MapAnything:
    """MapAnything from its folder of weights.

    Raises:
        BrokenWeights: the checkpoint does not hold the published network.
    """
    device = request.context.device
    precision = str(request.context.option("precision", "bf16" if device.startswith("cuda") else "fp32"))
    network = load_network(request.folder, request.record.weights_id, device)
    return MapAnything(network, replace(request.record, precision=precision), device)
