"""VGGT's network: the trunk and three of its four heads, under the names of the published tensors.

The fourth head tracks points and is unused here. Its tensors are part of every checkpoint, so their names and shapes
are declared too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from scenewright_stages.backends.geometry.vggt.heads import CameraHead, DenseHead, DenseShape
from scenewright_stages.backends.geometry.vggt.transformer import Aggregator, TrunkShape

Shapes = dict[str, tuple[int, ...]]
_AT_ONCE = 8
"""Pictures whose dense maps are made together."""


@dataclass(frozen=True)
class VggtShape:
    """Sizes of the network; the defaults are those of VGGT-1B.

    Attributes:
        trunk: of the trunk.
        dense: of the heads of depth and points.
        layers: pairs of blocks that feed the dense heads.
        camera_depth: blocks of the camera head.
        tracking: features of the point tracking head.
    """

    trunk: TrunkShape = field(default_factory=TrunkShape)
    dense: DenseShape = field(default_factory=DenseShape)
    layers: tuple[int, int, int, int] = (4, 11, 17, 23)
    camera_depth: int = 4
    tracking: int = 128

    @classmethod
    def from_json(cls, path: Path) -> VggtShape:
        """Reads the sizes from a file. Raises TypeError, KeyError or ValueError if it is invalid."""
        stated = json.loads(path.read_text())
        dense = {**stated["dense"], "channels": tuple(stated["dense"]["channels"])}
        return cls(
            TrunkShape(**stated["trunk"]),
            DenseShape(**dense),
            tuple(stated["layers"]),
            int(stated["camera_depth"]),
            int(stated["tracking"]),
        )


@dataclass(frozen=True, eq=False)
class RawGeometry:
    """The network's output.

    Attributes:
        poses: (S, 9) translation, quaternion (x, y, z, w), vertical and horizontal field of view in radians.
        depth, confidence: (S, H, W); confidence is 1 or more.
    """

    poses: Tensor
    depth: Tensor
    confidence: Tensor


class VggtNetwork(nn.Module):
    """Predicts cameras and depth of images jointly."""

    def __init__(self, shape: VggtShape | None = None) -> None:
        super().__init__()
        self.shape = shape or VggtShape()
        trunk, width = self.shape.trunk, 2 * self.shape.trunk.width
        self.aggregator = Aggregator(trunk)
        self.camera_head = CameraHead(width, trunk.heads, self.shape.camera_depth)
        self.point_head = DenseHead(width, self.shape.dense, outputs=4)
        self.depth_head = DenseHead(width, self.shape.dense, outputs=2)

    def forward(self, pictures: Tensor, half: torch.dtype | None = None) -> RawGeometry:
        """The geometry of pictures (S, 3, H, W), sRGB in [0, 1]; sides are whole patches.

        Args:
            pictures: all of one place; the first one's camera is approximately the world's origin.
            half: dtype of the trunk; the heads always use float32.
        """
        with torch.autocast(pictures.device.type, dtype=half, enabled=half is not None):
            layers = self.aggregator(pictures, self.shape.layers)
        special = self.shape.trunk.special
        poses = self.camera_head(layers[-1][:, 0].float())
        parts = [
            self._depth([each[start : start + _AT_ONCE, special:].float() for each in layers], pictures.shape[-2:])
            for start in range(0, len(pictures), _AT_ONCE)
        ]
        depth, confidence = (torch.cat(each) for each in zip(*parts, strict=True))
        return RawGeometry(poses, depth, confidence)

    def _depth(self, layers: list[Tensor], size: torch.Size) -> tuple[Tensor, Tensor]:
        answer = self.depth_head(layers, (size[0], size[1]), self.shape.trunk.patch)
        return answer[:, 0].exp(), 1 + answer[:, 1].exp()


def expected_shapes(network: VggtNetwork) -> Shapes:
    """Names and shapes of all tensors of a checkpoint of that network."""
    shape = network.shape
    used = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    return used | dict(_tracking_shapes(2 * shape.trunk.width, shape.dense, shape.tracking))


def _tracking_shapes(width: int, dense: DenseShape, features: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the point tracking head."""
    with torch.device("meta"):
        extractor = DenseHead(width, DenseShape(dense.channels, features, dense.hidden), outputs=None)
        tracker = _tracker(features)
    for prefix, part in (("feature_extractor", extractor), ("tracker", tracker)):
        for name, value in part.state_dict().items():
            yield f"track_head.{prefix}.{name}", tuple(value.shape)


def _tracker(features: int) -> nn.Module:
    """The tensors of the unused tracker: 7 levels of 9 x 9 correlations, 6 blocks of each kind."""
    hidden, given = 3 * features, 3 * features + 4
    former = nn.Module()
    # Misspelled in the checkpoint.
    former.virual_tracks = nn.Parameter(torch.zeros(1, 64, 1, hidden))
    former.input_norm, former.output_norm = nn.LayerNorm(given), nn.LayerNorm(hidden)
    former.input_transform, former.flow_head = nn.Linear(given, hidden), nn.Linear(hidden, features + 2)
    for kind, attention in (("time", "attn"), ("space_virtual", "attn")):
        former.add_module(f"{kind}_blocks", nn.ModuleList(_tracker_block(hidden, attention) for _ in range(6)))
    for kind in ("space_point2virtual", "space_virtual2point"):
        former.add_module(f"{kind}_blocks", nn.ModuleList(_tracker_block(hidden, "cross_attn") for _ in range(6)))
    tracker = nn.Module()
    tracker.query_ref_token = nn.Parameter(torch.zeros(1, 2, given))
    tracker.corr_mlp = _two_layers(7 * 9 * 9, hidden, features)
    tracker.updateformer = former
    tracker.fmap_norm, tracker.ffeat_norm = nn.LayerNorm(features), nn.GroupNorm(1, features)
    tracker.ffeat_updater = nn.Sequential(nn.Linear(features, features))
    tracker.vis_predictor, tracker.conf_predictor = (nn.Sequential(nn.Linear(features, 1)) for _ in range(2))
    return tracker


def _tracker_block(hidden: int, attention: str) -> nn.Module:
    block = nn.Module()
    block.norm1, block.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
    if attention == "cross_attn":
        block.norm_context = nn.LayerNorm(hidden)
    block.add_module(attention, nn.MultiheadAttention(hidden, 1))
    block.mlp = _two_layers(hidden, 4 * hidden, hidden)
    return block


def _two_layers(given: int, hidden: int, out: int) -> nn.Module:
    layers = nn.Module()
    layers.fc1, layers.fc2 = nn.Linear(given, hidden), nn.Linear(hidden, out)
    return layers
