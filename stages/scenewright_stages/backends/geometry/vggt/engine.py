"""VGGT as a geometry estimator: resizes images to the network's size, and converts its nine numbers to cameras.

On purpose, portraits differ from the published code. It makes every picture 518 pixels wide and cuts off what is then
higher than 518, above and below. Here the longer side gets 518 pixels and the whole picture is seen, so that cameras
and maps are those of the pictures that were given. On landscape and square pictures both are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from scenewright_stages.backends.geometry.interface import ViewGeometry, check_view_geometry
from scenewright_stages.backends.geometry.vggt.checkpoint import load_network
from scenewright_stages.backends.geometry.vggt.network import VggtNetwork
from scenewright_stages.backends.geometry.vggt.transformer import whole_patches
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.geometry.cameras import Camera, intrinsics_matrix, rigid, rotation_from_quaternion
from scenewright_stages.vision.types import Float32Array


def load_vggt(request: LoadRequest) -> VggtGeometry:
    """VGGT from its folder of weights.

    Raises:
        BrokenWeights: the checkpoint does not hold the published network.
    """
    device = request.context.device
    precision = str(request.context.option("precision", "bf16" if device.startswith("cuda") else "fp32"))
    network = load_network(request.folder, request.record.weights_id, device)
    return VggtGeometry(network, replace(request.record, precision=precision), device)


class VggtGeometry:
    """Cameras and depth of pictures.

    Args:
        network: with its weights.
        record: of the backend; its precision is the trunk's arithmetic.
        device: where the network runs.
    """

    def __init__(self, network: VggtNetwork, record: BackendRecord, device: str = "cpu") -> None:
        self._network: VggtNetwork | None = network
        self._device = device
        self.record = record

    @torch.inference_mode()
    def estimate(self, pictures: Sequence[Float32Array]) -> list[ViewGeometry]:
        """See ``GeometryEstimator.estimate``; the maps have the network's size."""
        if self._network is None:
            raise RuntimeError("vggt was released")
        if not pictures or len({picture.shape for picture in pictures}) != 1:
            raise ValueError("estimating geometry needs pictures, all of one size")
        rows, columns = pictures[0].shape[:2]
        height, width = whole_patches(rows, columns, self._network.shape.trunk)
        given = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(self._device)
        fitted = functional.interpolate(given, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        dtype = torch_dtype(self.record.precision)
        answer = self._network(fitted, None if dtype == torch.float32 else dtype)
        cameras = cameras_of(answer.poses.double().cpu().numpy(), width, height)
        maps = (each.float().cpu().numpy() for each in (answer.depth, answer.confidence))
        return [check_view_geometry(ViewGeometry(*each)) for each in zip(cameras, *maps, strict=True)]

    def release(self) -> None:
        """Free the model's memory."""
        self._network = None
        free_memory()


def cameras_of(poses: NDArray[np.float64], width: int, height: int) -> list[Camera]:
    """Cameras from the network's pose encoding.

    Args:
        poses: (S, 9) translation and quaternion (x, y, z, w) of ``camera_from_world``, OpenCV axes; vertical and
            horizontal field of view in radians.
        width, height: of the pictures.

    Raises:
        BackendContractError: a quaternion is zero, or a field of view is not between 0 and 180 degrees.
    """
    fields, turned = poses[:, 7:], poses[:, 3:7].any(axis=1)
    if not (np.isfinite(poses).all() and ((fields > 0) & (fields < np.pi)).all() and turned.all()):
        raise BackendContractError("the model answered a camera that cannot be")
    found = []
    for pose in poses:
        fy, fx = (side / 2 / np.tan(angle / 2) for side, angle in zip((height, width), pose[7:], strict=True))
        x, y, z, w = pose[3:7]
        turn = rigid(rotation_from_quaternion((w, x, y, z)), pose[:3])
        found.append(Camera(intrinsics_matrix(fx, fy, width / 2, height / 2), width, height, turn))
    return found
