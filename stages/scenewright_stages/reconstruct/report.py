"""Report pages of reconstructions: the viewer, the quality on held-out photographs, and the fixer rounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from scenewright_stages.captures import POSES
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.stopping import curve_text
from scenewright_stages.reconstruct.views import along, roles_of
from scenewright_stages.report.data import Metric, NextStep
from scenewright_stages.scenes.page import (
    SceneData,
)
from scenewright_stages.scenes.placing import unmoved
from scenewright_stages.scenes.reporter import Files, ScenePages
from scenewright_stages.scenes.splats import SplatCloud, SplatScene
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.vision.imaging.colour import unit_from_uint8
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs
from scenewright_stages.vision.types import Float32Array

LAST_STAGE = "render"
_ROLES = {"held_out": "Held-out photographs", "gate": "Gate photographs", "train": "Training photographs"}


class ReconstructionReporter(ScenePages[ReconstructParams]):
    """Makes ``report.html`` of reconstructions."""

    title = "Reconstruction"
    block = "reconstruct"
    params = ReconstructParams
    last_stage = LAST_STAGE
    links = (
        ("ply", "Gaussian splats (PLY)"),
        ("video", "Flight video"),
        ("depth_video", "Depth video"),
        ("fixed_video", "Flight video, repaired"),
        ("metrics", "Metrics"),
    )
    captions: ClassVar[dict[tuple[str, str], str]] = {
        (LAST_STAGE, "held_out"): "Photographs that were held out, each beside the render from its pose",
        ("difix", "strips"): "Views between photographs: render, repaired render, reference as seen from there",
    }
    flight = "The flight along the photographs"
    change = NextStep(
        "Train as large as the photographs bear and run again; the capture is kept:", "--set training.preset=quality"
    )

    def completed(self, data: SceneData, outcome: SampleOutcome, params: ReconstructParams) -> SceneData:
        """Adds the splats, the number of photographs, and the fixer rounds."""
        photographs = _photographs(outcome.files)
        return replace(
            data,
            subtitle=_subtitle(photographs, outcome.records),
            splats=_splats(outcome.files, photographs, params),
            log="\n\n".join(
                filter(None, (_curve(outcome.records), _continued(outcome.records), rounds_text(outcome.files)))
            ),
        )

    def metrics(self, outcome: SampleOutcome) -> Iterator[Metric]:
        """Quality on the photographs, by their role."""
        return _metrics(self.result(outcome))

    def cover(self, outcome: SampleOutcome) -> tuple[Float32Array, str] | None:
        """The first photograph."""
        photographs = _photographs(outcome.files)
        if photographs is None:
            return None
        return unit_from_uint8(photographs.photographs[0].srgb), "First photograph of"


def rounds_text(files: Files) -> str:
    """The results of the fixer rounds, one line each."""
    if ("difix", "rounds") not in files:
        return ""
    rounds_file = json.loads(files["difix", "rounds"]().read_text())
    fixer, rounds = rounds_file["fixer"], rounds_file["rounds"]
    facts = [fixer.get(name, "") for name in ("backend", "model", "revision", "licence")]
    if digest := fixer.get("checkpoint"):
        facts.append(f"checkpoint {digest}")
    lines = ["repaired by " + ", ".join(filter(None, facts))]
    lines += [
        f"round {number}: gate views {each['before']:.2f} dB before, {each['without']:.2f} without repaired views, "
        f"{each['with_fixes']:.2f} with: {'kept' if each['kept'] else 'rejected'}"
        for number, each in enumerate(rounds, start=1)
    ]
    return "\n".join(lines)


def _curve(records: Mapping[str, Record]) -> str:
    """How the validation photographs chose the length of the training; empty if they did not."""
    return curve_text(records["train"].metrics.get("validation", {})) if "train" in records else ""


def _continued(records: Mapping[str, Record]) -> str:
    """What of the scene no photograph shows; empty if that is nothing."""
    found = records["train"].metrics.get("continued", 0) if "train" in records else 0
    if not found:
        return ""
    return f"{found} Gaussians continue the scene, blurred, where no photograph looks: what they show is a guess"


def _subtitle(photographs: PosedPhotographs | None, records: Mapping[str, Record]) -> str:
    text = f"{len(photographs.photographs)} photographs" if photographs else ""
    if POSES in records and (found := records[POSES].metrics):
        text += f", poses estimated for {found['registered']} of {found['photographs']}"
    return text.removeprefix(", ")


def _photographs(files: Files) -> PosedPhotographs | None:
    return PosedPhotographs.load(files["capture", "photographs"]()) if ("capture", "photographs") in files else None


def _splats(files: Files, photographs: PosedPhotographs | None, params: ReconstructParams) -> SplatScene | None:
    if (LAST_STAGE, "ply") not in files or photographs is None:
        return None
    cameras = photographs.cameras
    every = params.held_out_every, params.deciding_every
    train = roles_of(len(cameras), *every, photographs.held_out).train
    path = along([cameras[number] for number in train], params.render.frames)
    own_frame = (LAST_STAGE, "frame") in files
    # The viewer's splats are packed around the origin, so it shows the frame in which the scene was trained.
    cloud = SplatCloud.of(unmoved(read_ply(files[LAST_STAGE, "ply"]()), photographs, own_frame))
    return SplatScene(cloud, path[0], tuple(path), len(path) / params.render.frames_per_second)


def _metrics(metrics: Mapping[str, Any]) -> Iterator[Metric]:
    for role, label in _ROLES.items():
        if role in metrics:
            found = metrics[role]
            note = f"SSIM {found['ssim']:.3f} over {len(found['views'])} views, {found['covered']:.1%} covered"
            yield Metric(label, found["psnr"], "dB", "higher", None, 1, note)
    if found := metrics.get("nearest_photograph"):
        note = "The nearest training photograph, moved as if the scene were one plane, over the held-out ones"
        if found["psnr"] is None:
            note += ": the capture's points are too few for a plane"
        else:
            note += f". On the {found['shown']:.0%} that it shows it has {found['psnr_shown']:.1f} dB"
            note += f" and the scene {found['scene_psnr_shown']:.1f}; elsewhere it has its mean colour"
        yield Metric("Nearest photograph, warped", found["psnr"], "dB", "neither", None, 1, note)
    if found := metrics.get("exposure"):
        note = f"Before exposure was matched, one photograph was {found['span']:.2f} times as bright as another"
        yield Metric("Held-out photographs as taken", found["held_out_psnr_as_taken"], "dB", "higher", None, 1, note)
    if found := metrics.get("final_pass"):
        note = "Held-out photographs against renders that the fixer repaired; the Gaussians stay as they are"
        yield Metric("Held-out photographs, final pass", found["psnr"], "dB", "higher", None, 1, note)
    if metrics:
        yield Metric("Gaussians", metrics["gaussians"], digits=0)
