"""Last stage: measures quality on the held-out photographs, renders the flight and exports the Gaussians."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.backends.fix.interface import Fixer
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.reconstruct.baseline import against_nearest_photograph
from scenewright_stages.reconstruct.doubts import doubts
from scenewright_stages.reconstruct.fix import chosen_fixer, fixer_facts, references_of, repaired
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.train import capture_roles
from scenewright_stages.reconstruct.views import Roles, along
from scenewright_stages.scenes.captures import views_of
from scenewright_stages.scenes.flight import fly
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.scenes.placing import placed, write_frame
from scenewright_stages.scenes.preparation import write_png
from scenewright_stages.scenes.video import write_flight_sheet, write_videos
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.ply import write_ply
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.metrics import array_psnr, psnr
from scenewright_stages.vision.imaging.video import write_mp4
from scenewright_stages.vision.places.captures.exposure import exposure_span
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs

_SHOWN = 4
_STRIPE, _LIGHT, _DARK = 4, 0.6, 0.4
"""Width in pixels and grey levels of the stripes over pixels that do not count."""


class RenderStage(Stage[ReconstructParams]):
    """Measures and renders a finished scene."""

    def __init__(self, context: StageContext[ReconstructParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)
        self.last_stage = next(name for name in context.stage.upstream() if name != "capture")

    def process(self, sample: Sample, inputs: StageInputs[ReconstructParams]) -> StageResult:
        """Writes PLY, videos, contact sheet, held-out comparison and metrics."""
        photographs = PosedPhotographs.load(inputs.path("capture", "photographs"))
        scene = GaussianScene.load_npz(inputs.path(self.last_stage, "scene")).to(self.renderer.device)
        roles = capture_roles(photographs, inputs.params)
        metrics = {
            **measured(scene, photographs, roles, self.renderer),
            "nearest_photograph": against_nearest_photograph(photographs, roles, partial(drawn, scene, self.renderer)),
            **exposure_facts(scene, photographs, roles, self.renderer),
            "gaussians": len(scene),
            "renderer": self.renderer.name,
        }
        names = {"ply": "gf.ply", "video": "flight.mp4", "depth_video": "flight_depth.mp4"}
        names |= {"contact_sheet": "contact_sheet.jpg", "held_out": "held_out.png", "metrics": "metrics.json"}
        outputs: dict[str, Path] = {name: inputs.workspace / file for name, file in names.items()}
        published = placed(scene, photographs)
        write_ply(published.scene, outputs["ply"])
        if published.frame is not None:
            outputs["frame"] = inputs.workspace / "frame.json"
            write_frame(outputs["frame"], published.frame)
        render = inputs.params.render
        cameras = along([photographs.cameras[number] for number in roles.train], render.frames)
        flight = fly(scene, cameras, self.renderer, self.context.progress)
        write_videos(flight, outputs["video"], outputs["depth_video"], render.frames_per_second)
        write_flight_sheet(flight, outputs["contact_sheet"])
        write_png(outputs["held_out"], comparison(scene, photographs, roles.held_out[:_SHOWN], self.renderer))
        uses = []
        if inputs.params.difix.final_pass:
            fixer = chosen_fixer(inputs, self.context.models)
            outputs["fixed_video"] = inputs.workspace / "flight_fixed.mp4"
            count = references_of(inputs.params.difix)
            repairs = repaired(scene, cameras, photographs, roles, fixer, self.renderer, count)
            write_mp4(outputs["fixed_video"], (levels(each.fixed) for each in repairs), render.frames_per_second)
            score = fixed_psnr(scene, photographs, roles, fixer, self.renderer, count)
            metrics["final_pass"] = {"psnr": score, "fixer": fixer_facts(fixer, inputs)}
            uses = [fixer.record.use()]
        outputs["metrics"].write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
        warnings = [*doubts(metrics, inputs.params.training), *published.notes()]
        return StageResult(outputs, metrics=metrics, warnings=warnings, backends=uses)


@torch.no_grad()
def drawn(scene: GaussianScene, renderer: Renderer, camera: Camera) -> NDArray[np.float32]:
    """(H, W, 3) render of the scene from a camera."""
    picture: NDArray[np.float32] = renderer.render(scene, [camera]).rgb[0].clamp(0, 1).cpu().numpy()
    return picture


def fixed_psnr(
    scene: GaussianScene,
    photographs: PosedPhotographs,
    roles: Roles,
    fixer: Fixer,
    renderer: Renderer,
    references: int,
) -> float:
    """Mean PSNR in dB of the repaired renders from the held-out poses."""
    cameras = [photographs.cameras[number] for number in roles.held_out]
    repairs = repaired(scene, cameras, photographs, roles, fixer, renderer, references)
    views = views_of(photographs, roles.held_out)
    scores = [
        psnr(torch.from_numpy(each.fixed), view.srgb, view.mask) for each, view in zip(repairs, views, strict=True)
    ]
    return round(float(np.mean(scores)), 3)


def levels(srgb: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image in [0, 1] as uint8."""
    return np.asarray(np.round(srgb * 255), np.uint8)


def measured(
    scene: GaussianScene, photographs: PosedPhotographs, roles: Roles, renderer: Renderer
) -> dict[str, dict[str, Any]]:
    """PSNR, SSIM and coverage over the photographs of each role that is in use."""
    found = {}
    for name, numbers in vars(roles).items():
        if not numbers:
            continue
        quality = evaluate(scene, views_of(photographs, numbers), renderer)
        found[name] = {"views": [photographs.photographs[number].name for number in numbers], **quality.to_json()}
    return found


def exposure_facts(
    scene: GaussianScene, photographs: PosedPhotographs, roles: Roles, renderer: Renderer
) -> dict[str, dict[str, float]]:
    """If exposures were matched: how far they differed, and PSNR in dB over the unmatched held-out photographs."""
    if photographs.gains is None:
        return {}
    scores = [
        array_psnr(
            drawn(scene, renderer, each.camera), np.clip(each.srgb / 255 * gain, 0, 1).astype(np.float32), each.valid
        )
        for each, gain in ((photographs.photographs[number], photographs.gains[number]) for number in roles.held_out)
    ]
    return {
        "exposure": {
            "span": round(exposure_span(photographs.gains), 3),
            "held_out_psnr_as_taken": round(float(np.mean(scores)), 3),
        }
    }


def hatched(photograph: Photograph) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1]: the photograph, with grey stripes over its invalid pixels."""
    srgb = photograph.srgb.astype(np.float32) / np.float32(255)
    if photograph.valid is None:
        return srgb
    rows, columns = np.indices(photograph.valid.shape)
    stripes = np.where((rows + columns) // _STRIPE % 2, _LIGHT, _DARK).astype(np.float32)
    return np.where(photograph.valid[..., None], srgb, stripes[..., None]).astype(np.float32)


@torch.no_grad()
def comparison(
    scene: GaussianScene, photographs: PosedPhotographs, numbers: tuple[int, ...], renderer: Renderer
) -> NDArray[np.float32]:
    """Photograph and render side by side, one row per view; pixels of the photograph that do not count are hatched."""
    rows = []
    for number in numbers:
        photograph = photographs.photographs[number]
        pair = (hatched(photograph), drawn(scene, renderer, photograph.camera))
        rows.append(np.concatenate(pair, axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=1) for row in rows]
    return np.concatenate(padded).astype(np.float32)
