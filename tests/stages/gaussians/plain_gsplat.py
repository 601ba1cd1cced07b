"""The functions and kernels of gsplat 1.5 that the fitting loop calls, plainly in torch on the CPU, undefined as NaN.

What gsplat leaves unwritten (splats that are not seen, masked tiles) is NaN here: whoever uses it is found out.
Signatures and layouts are gsplat's, with one image; formulas as in `dense_reference`.
"""

from __future__ import annotations

from typing import Any

import torch
from dense_reference import composited, rotation_matrices

_C0, _C1 = 0.28209479177387814, 0.4886025119029199


def fully_fused_projection(
    means: torch.Tensor,
    covars: None,
    quats: torch.Tensor,
    scales: torch.Tensor,
    viewmats: torch.Tensor,
    lenses: torch.Tensor,
    width: int,
    height: int,
    *,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    opacities: torch.Tensor,
) -> tuple[Any, ...]:
    pose, lens = viewmats[0], lenses[0]
    fx, fy, cx, cy = lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]
    x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    slope_x = torch.minimum(torch.maximum(x / z, -cx / fx - margin_x), (width - cx) / fx + margin_x)
    slope_y = torch.minimum(torch.maximum(y / z, -cy / fy - margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * slope_x / z, zero, fy / z, -fy * slope_y / z], dim=1).view(-1, 2, 3)
    factor = jacobian @ (pose[:3, :3] @ rotation_matrices(quats) * scales[:, None, :])
    covariance = factor @ factor.transpose(1, 2) + eps2d * torch.eye(2)
    extent = torch.sqrt(2 * torch.log((opacities * 255).clamp(min=1))).clamp(max=3.33)[:, None]
    radii = torch.ceil(extent * covariance.detach().diagonal(dim1=1, dim2=2).sqrt())
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1)
    size = torch.tensor([width, height])
    seen = ((means2d + radii > 0) & (means2d - radii < size)).all(dim=1)
    seen &= (z >= near_plane) & (z <= far_plane) & (opacities >= 1 / 255)
    inverse = torch.linalg.inv(covariance)
    conics = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], dim=1)
    unseen = ~seen[:, None]
    nan = float("nan")
    return (
        (radii * seen[:, None]).int()[None],
        means2d.masked_fill(unseen, nan)[None],
        z.masked_fill(~seen, nan)[None],
        conics.masked_fill(unseen, nan)[None],
        None,
    )


def spherical_harmonics(
    degree: int, directions: torch.Tensor, coefficients: torch.Tensor, masks: torch.Tensor
) -> torch.Tensor:
    assert degree == 1, "nothing here needs more"
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    basis = torch.stack([torch.full_like(x, _C0), -_C1 * y, _C1 * z, -_C1 * x], dim=1)
    colours = (basis[..., None] * coefficients).sum(dim=1)
    return colours.masked_fill(~masks[:, None], float("nan"))


@torch.no_grad()
def intersect_tile(
    means2d: torch.Tensor,
    radii: torch.Tensor,
    depths: torch.Tensor,
    image_ids: None,
    gaussian_ids: None,
    images: int,
    tile: int,
    columns: int,
    rows: int,
    sort: bool,
    segmented: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pairs = []
    for row in range(radii.shape[1]):
        if (radii[0, row] <= 0).any():
            continue
        low = ((means2d[0, row] - radii[0, row]) / tile).floor().clamp(min=0).int().tolist()
        high = ((means2d[0, row] + radii[0, row]) / tile).ceil().clamp(min=0).int().tolist()
        for y in range(min(low[1], rows), min(high[1], rows)):
            pairs += [(y * columns + x, float(depths[0, row]), row) for x in range(low[0], min(high[0], columns))]
    pairs.sort()
    keys = torch.tensor([(tile_number << 32) | 1 for tile_number, _, _ in pairs], dtype=torch.int64)
    return radii, keys, torch.tensor([row for _, _, row in pairs], dtype=torch.int32)


def intersect_offset(keys: torch.Tensor, images: int, columns: int, rows: int) -> torch.Tensor:
    return torch.searchsorted(keys >> 32, torch.arange(rows * columns)).int().view(images, rows, columns)


@torch.no_grad()
def rasterize_to_pixels_3dgs_fwd(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    drawn, alpha = _rasterised(*arguments)
    return drawn, alpha, torch.empty(0)


def rasterize_to_pixels_3dgs_bwd(*arguments: Any) -> tuple[torch.Tensor | None, ...]:
    *forth, _, _, by_drawn, by_alpha, absolute = arguments
    assert not absolute, "nothing here needs more"
    leaves = [tensor.detach().requires_grad_() for tensor in forth[:4]]
    with torch.enable_grad():
        drawn = _rasterised(*leaves, *forth[4:])
    return None, *torch.autograd.grad(drawn, leaves, (by_drawn, by_alpha))


def _rasterised(
    means2d: torch.Tensor,
    conics: torch.Tensor,
    colours: torch.Tensor,
    opacities: torch.Tensor,
    backgrounds: None,
    masks: torch.Tensor,
    width: int,
    height: int,
    tile: int,
    offsets: torch.Tensor,
    flatten_ids: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    ends = torch.cat([offsets.flatten()[1:], torch.tensor([len(flatten_ids)])]).view_as(offsets)
    drawn = torch.full((1, height, width, colours.shape[-1]), float("nan"))
    alpha = torch.full((1, height, width, 1), float("nan"))
    for _, row, column in torch.nonzero(masks).tolist():
        splats = flatten_ids[offsets[0, row, column] : ends[0, row, column]].long()
        top, left = row * tile, column * tile
        bottom, right = min(top + tile, height), min(left + tile, width)
        dx = means2d[0, splats, 0] - (torch.arange(left, right) + 0.5)[None, :, None]
        dy = means2d[0, splats, 1] - (torch.arange(top, bottom) + 0.5)[:, None, None]
        xx, xy, yy = conics[0, splats].unbind(-1)
        weight = opacities[0, splats] * torch.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)
        blended, covered = composited(weight, colours[0, splats].expand(*weight.shape, -1))
        drawn[:, top:bottom, left:right] = blended
        alpha[:, top:bottom, left:right, 0] = covered
    return drawn, alpha
