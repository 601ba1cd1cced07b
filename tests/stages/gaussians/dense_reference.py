"""The renderer's mathematics written plainly in torch: the reference the kernels are compared with.

Every Gaussian is evaluated at every pixel and autograd does the way back. Formulas: Zwicker et al. 2002
and Kerbl et al. 2023; visibility constants of gsplat 1.5 ("classic").
"""

from __future__ import annotations

import math

import torch

from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

Splats = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def rotation_matrices(quaternions: torch.Tensor) -> torch.Tensor:
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def projected(scene: GaussianScene, camera: Camera) -> Splats:
    """Image means (M, 2), inverse covariances (M, 2, 2), opacities, colours and depths, front to back.

    Colours are the view-independent part only.
    """
    dtype = scene.means.dtype
    pose = torch.tensor(camera.camera_from_world, dtype=dtype)
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    points = scene.means @ pose[:3, :3].T + pose[:3, 3]
    x, y, z = points.unbind(1)
    margin_x, margin_y = 0.3 * 0.5 * camera.width / fx, 0.3 * 0.5 * camera.height / fy
    slope_x = (x / z).clamp(-cx / fx - margin_x, (camera.width - cx) / fx + margin_x)
    slope_y = (y / z).clamp(-cy / fy - margin_y, (camera.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * slope_x / z, zero, fy / z, -fy * slope_y / z], dim=1)
    jacobian = jacobian.view(-1, 2, 3)
    factor = pose[:3, :3] @ rotation_matrices(scene.quaternions) * scene.log_scales.exp()[:, None, :]
    covariance = jacobian @ factor @ factor.transpose(1, 2) @ jacobian.transpose(1, 2)
    covariance = covariance + 0.3 * torch.eye(2, dtype=dtype)
    opacity = torch.sigmoid(scene.opacity_logits)
    colour = (scene.spherical_harmonics[:, 0] * 0.28209479177387814 + 0.5).clamp(min=0)
    means = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1)
    seen = (z >= 0.01) & (opacity > 1 / 255) & _in_image(means, covariance, opacity, camera)
    order = torch.argsort(z.masked_fill(~seen, math.inf), stable=True)[: int(seen.sum())]
    return means[order], torch.linalg.inv(covariance[order]), opacity[order], colour[order], z[order]


def _in_image(means: torch.Tensor, covariance: torch.Tensor, opacity: torch.Tensor, camera: Camera) -> torch.Tensor:
    extent = torch.sqrt(2 * torch.log((opacity * 255).clamp(min=1))).clamp(max=3.33)[:, None]
    radius = torch.ceil(extent * covariance.diagonal(dim1=1, dim2=2).sqrt())
    size = torch.tensor([camera.width, camera.height], dtype=means.dtype)
    return ((means + radius > 0) & (means - radius < size)).all(dim=1)


def composited(alpha: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Alpha-blended values (..., M, C) front to back along M, and the coverage; alpha (..., M)."""
    alpha = torch.where(alpha >= 1 / 255, alpha, torch.zeros_like(alpha)).clamp(max=0.999)
    through = torch.cumprod(1 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], dim=-1)
    # A pixel is finished at the first Gaussian that would take it to 1e-4; that one is not drawn.
    drawn = torch.cumsum((through <= 1e-4).to(alpha), dim=-1) == 0
    weight = alpha * before * drawn
    return (weight[..., None] * values).sum(dim=-2), weight.sum(dim=-1)


def render(scene: GaussianScene, camera: Camera) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colour (H, W, 3) over black, expected depth (H, W), alpha (H, W)."""
    means, inverse, opacity, colour, depth = projected(scene, camera)
    columns = torch.arange(camera.width, dtype=means.dtype) + 0.5
    rows = torch.arange(camera.height, dtype=means.dtype) + 0.5
    dx, dy = means[:, 0] - columns[None, :, None], means[:, 1] - rows[:, None, None]
    sigma = 0.5 * (inverse[:, 0, 0] * dx * dx + inverse[:, 1, 1] * dy * dy) + inverse[:, 0, 1] * dx * dy
    values = torch.cat([colour, depth[:, None]], dim=1)
    blended, alpha = composited(opacity * torch.exp(-sigma), values.expand(*sigma.shape, 4))
    return blended[..., :3], blended[..., 3] / alpha.clamp(min=1e-10), alpha
