"""First stage: the photograph at working size, and the canvas with its painted border."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.capability import Capability
from scenewright_stages.backends.inpaint.interface import OUTPAINT, Inpainter
from scenewright_stages.backends.loading import ModelContext, load
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.vision.colour import uint8_from_unit, unit_from_uint8
from scenewright_stages.vision.images import (
    Canvas,
    ImageError,
    LoadedImage,
    PixelWindow,
    load_srgb,
    outpaint_canvas,
    prepare,
)
from scenewright_stages.vistadream.params import InpaintParams, VistaDreamParams


@dataclass(frozen=True)
class Layout:
    """How the working image was cut from the photograph and where it lies on the canvas.

    Attributes:
        mode: the pipeline's mode.
        source_width, source_height: of the upright photograph in pixels.
        horizontal_degrees: field of view of the whole photograph by EXIF, None when it says nothing.
        crop: window of the photograph that the working image shows.
        canvas: size of the outpainted image and the exact place of the working image on it.
    """

    mode: str
    source_width: int
    source_height: int
    horizontal_degrees: float | None
    crop: PixelWindow
    canvas: Canvas

    def save(self, path: Path) -> None:
        """Writes the layout as JSON."""
        path.write_text(json.dumps(asdict(self) | {"scale": self.crop.scale}, indent=1, sort_keys=True))

    @classmethod
    def load(cls, path: Path) -> Layout:
        """The inverse of :meth:`save`."""
        data: dict[str, Any] = json.loads(path.read_text())
        data.pop("scale")
        return cls(**data | {"crop": PixelWindow(**data["crop"]), "canvas": Canvas(**data["canvas"])})


class OutpaintStage(Stage[VistaDreamParams]):
    """Reads, sizes and outpaints a photograph."""

    def __init__(self, context: StageContext[VistaDreamParams]) -> None:
        super().__init__(context)
        self.inpainter: Inpainter | None = None
        if self.params.mode != "noOutpaint":
            self.inpainter = load_inpainter(OUTPAINT, self.params.outpaint, context)

    def process(self, sample: Sample, inputs: StageInputs[VistaDreamParams]) -> StageResult:
        """Writes ``input.png``, ``outpaint.png``, its mask and the layout."""
        photograph = read_photograph(inputs.source)
        prepared = prepare(photograph.srgb, self.params.max_resolution)
        height, width = prepared.srgb.shape[:2]
        expansion = self.params.outpaint.expansion_percent if self.inpainter is not None else 0.0
        canvas = outpaint_canvas(width, height, expansion)
        painted, uses = self._paint(stored_precision(prepared.srgb), canvas, inputs.seed)
        layout = Layout(
            mode=self.params.mode,
            source_width=photograph.width,
            source_height=photograph.height,
            horizontal_degrees=photograph.horizontal_degrees,
            crop=prepared.window,
            canvas=canvas,
        )
        outputs = {name: inputs.workspace / file for name, file in _FILES.items()}
        write_png(outputs["input"], prepared.srgb)
        write_png(outputs["image"], painted)
        write_png(outputs["mask"], canvas.hole().astype(np.float32))
        layout.save(outputs["layout"])
        return StageResult(
            outputs,
            metrics={"width": width, "height": height, "painted_share": round(float(canvas.hole().mean()), 4)},
            warnings=photograph.notes,
            backends=uses,
        )

    def _paint(
        self, srgb: NDArray[np.float32], canvas: Canvas, seed: int
    ) -> tuple[NDArray[np.float32], list[BackendUse]]:
        pasted, hole = canvas.paste(srgb), canvas.hole()
        if self.inpainter is None or not hole.any():
            return pasted, []
        painted = self.inpainter.fill(pasted, hole, self.params.outpaint.prompt, seed)
        return painted, [self.inpainter.record.use("outpaint")]


_FILES = {"input": "input.png", "image": "outpaint.png", "mask": "outpaint_mask.png", "layout": "layout.json"}


def read_photograph(path: Path) -> LoadedImage:
    """The upright photograph; a file that cannot be used becomes a failure of its sample.

    Raises:
        SampleError: with the reader's reason, such as ``ImageTruncated``.
    """
    try:
        return load_srgb(path, name=path.name)
    except ImageError as error:
        raise SampleError(error.sample_reason, str(error)) from error


def load_inpainter(
    capability: Capability[Inpainter], params: InpaintParams, context: StageContext[VistaDreamParams]
) -> Inpainter:
    """The inpainting backend that the parameters name, with its options."""
    options: dict[str, Any] = {}
    if params.backend == "flux-fill":
        options = {"steps": params.steps, "guidance": params.guidance, "precision": params.precision}
    return load(capability, params.backend, ModelContext.from_settings(context.models, options=options))


def stored_precision(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values that an 8-bit file will hold, so that all stages see the same pixels."""
    return unit_from_uint8(uint8_from_unit(srgb))


def write_png(path: Path, values: NDArray[np.float32]) -> None:
    """Writes (H, W, 3) sRGB or (H, W) values in [0, 1] as an 8-bit PNG."""
    pixels = uint8_from_unit(values)
    if not cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels):
        raise OSError(f"could not write {path.name}")


def read_png(path: Path) -> NDArray[np.float32]:
    """(H, W, 3) float32 sRGB in [0, 1] of a colour PNG that a stage wrote."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"could not read {path.name}")
    return unit_from_uint8(np.asarray(pixels[..., ::-1], np.uint8))
