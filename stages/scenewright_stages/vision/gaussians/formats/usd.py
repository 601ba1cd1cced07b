"""USD files whose splats are a ParticleField3DGaussianSplat, the schema of OpenUSD 26.03.

usd-core (Pixar) writes them; tinyusdz, an independent implementation, reads them back. The stage has y up and metres.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.scene import GaussianScene

_ROOT, _SPLATS = "/World", "/World/Splats"
_ATTRIBUTES = ("radiance:sphericalHarmonicsCoefficients", "positions", "scales", "orientations", "opacities")
_EPOCH = 946_684_800
"""The start of 2000, in seconds since 1970."""


def write_usdc(scene: GaussianScene, path: Path, metadata: Mapping[str, str], comment: str = "") -> None:
    """Writes a scene with y up as a binary USD file; equal scenes give equal bytes.

    Args:
        metadata: texts for the stage's custom data.
        comment: shown by programs that list layers.
    """
    from pxr import Sdf, Usd, UsdGeom, UsdVol, Vt

    path.unlink(missing_ok=True)
    # In memory: a layer that this process wrote under the same name before would still be open.
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, _ROOT).GetPrim())
    stage.GetRootLayer().comment = comment
    stage.GetRootLayer().customLayerData = dict(metadata)
    splats = UsdVol.ParticleField3DGaussianSplat.Define(stage, Sdf.Path(_SPLATS))
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in scene.tensors.items()}
    means, scales = tensors["means"], np.exp(tensors["log_scales"])
    turns = torch.nn.functional.normalize(scene.quaternions, dim=1).numpy()
    splats.CreatePositionsAttr(Vt.Vec3fArray.FromNumpy(means))
    splats.CreateScalesAttr(Vt.Vec3fArray.FromNumpy(scales))
    # The array type stores xyzw.
    splats.CreateOrientationsAttr(Vt.QuatfArray.FromNumpy(np.ascontiguousarray(np.roll(turns, -1, axis=1))))
    splats.CreateOpacitiesAttr(Vt.FloatArray.FromNumpy(torch.sigmoid(scene.opacity_logits).numpy()))
    splats.CreateRadianceSphericalHarmonicsDegreeAttr(scene.harmonics_degree)
    harmonics = np.ascontiguousarray(tensors["spherical_harmonics"].reshape(-1, 3))
    coefficients = splats.CreateRadianceSphericalHarmonicsCoefficientsAttr(Vt.Vec3fArray.FromNumpy(harmonics))
    UsdGeom.Primvar(coefficients).SetElementSize((scene.harmonics_degree + 1) ** 2)
    reach = 3 * scales.max(axis=1, keepdims=True)
    ends = np.stack([(means - reach).min(axis=0), (means + reach).max(axis=0)]).astype(np.float32)
    splats.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(ends))
    if not stage.GetRootLayer().Export(str(path)):
        raise FormatError(f"{path.name}: usd-core could not write it")


def write_usdz(usdc: Path, path: Path) -> None:
    """Packs a USD file as one archive, whose first file it is, uncompressed and aligned to 64 bytes."""
    from pxr import UsdUtils

    path.unlink(missing_ok=True)
    # The archive stores the file's time, which must be the same for equal scenes.
    os.utime(usdc, (_EPOCH, _EPOCH))
    if not UsdUtils.CreateNewUsdzPackage(str(usdc), str(path)):
        raise FormatError(f"{path.name}: usd-core could not write it")


def read_usd(path: Path) -> GaussianScene:
    """The splats of a USD file, in its own axes.

    Raises:
        FormatError: it has no splats, is damaged, or does not have y up and metres.
    """
    import tinyusdz

    try:
        stage = tinyusdz.load(str(path))
        prim = stage.get_prim_at_path(_SPLATS)
    except tinyusdz.UsdError as problem:
        raise FormatError(f"{path.name} cannot be read: {problem}") from problem
    if prim is None or prim.type_name != "ParticleField3DGaussianSplat":
        raise FormatError(f"{path.name} has no ParticleField3DGaussianSplat at {_SPLATS}")
    if "upAxis=Y metersPerUnit=1>" not in repr(stage):
        raise FormatError(f"{path.name} does not say that y is up and units are metres: {stage!r}")

    attributes: dict[str, Any] = {}
    for name in _ATTRIBUTES:
        attributes[name] = prim.get_attribute(name)
        if attributes[name] is None:
            raise FormatError(f"{path.name} has no {name}")
    # Attributes are copies: millions of splats would be held three times if the stage stayed.
    del prim, stage
    harmonics, means, scales, turns, opacities = (
        np.array(attributes.pop(name).value, np.float32) for name in _ATTRIBUTES
    )
    share = np.clip(opacities.astype(np.float64), 1e-7, 1 - 1e-7)
    return GaussianScene(
        torch.from_numpy(means),
        torch.from_numpy(np.log(scales)),
        torch.from_numpy(np.roll(turns, 1, axis=1)),
        torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)),
        torch.from_numpy(harmonics.reshape(len(means), -1, 3)),
    )
