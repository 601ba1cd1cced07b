"""First stage: the photograph at working size, and the canvas with its painted border."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.inpaint.interface import OUTPAINT, Inpainter
from scenewright_stages.backends.runtime.capability import Capability
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.preparation import prepare_photograph, stored_precision, write_png
from scenewright_stages.vision.geometry.framing import Canvas
from scenewright_stages.vistadream.params import InpaintParams, VistaDreamParams


class OutpaintStage(Stage[VistaDreamParams]):
    """Reads, sizes and outpaints a photograph."""

    def __init__(self, context: StageContext[VistaDreamParams]) -> None:
        super().__init__(context)
        self.inpainter: Inpainter | None = None
        if self.params.mode != "noOutpaint":
            self.inpainter = load_inpainter(OUTPAINT, self.params.outpaint, context)

    def process(self, sample: Sample, inputs: StageInputs[VistaDreamParams]) -> StageResult:
        """Writes ``input.png``, ``outpaint.png``, its mask and the layout."""
        border = self.params.outpaint.expansion_percent if self.inpainter is not None else 0.0
        prepared = prepare_photograph(inputs.source, self.params.max_resolution, border, self.params.mode)
        height, width = prepared.srgb.shape[:2]
        canvas = prepared.layout.canvas
        painted, uses = self._paint(stored_precision(prepared.srgb), canvas, inputs.seed)
        outputs = {name: inputs.workspace / file for name, file in _FILES.items()}
        write_png(outputs["input"], prepared.srgb)
        write_png(outputs["image"], painted)
        write_png(outputs["mask"], canvas.hole().astype(np.float32))
        prepared.layout.save(outputs["layout"])
        return StageResult(
            outputs,
            metrics={"width": width, "height": height, "painted_share": round(float(canvas.hole().mean()), 4)},
            warnings=prepared.notes,
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


def load_inpainter(
    capability: Capability[Inpainter], params: InpaintParams, context: StageContext[VistaDreamParams]
) -> Inpainter:
    """The inpainting backend that the parameters name, with its options."""
    names = {"flux-fill": ("steps", "guidance", "precision", "offload"), "flux2-klein": ("precision", "offload")}
    options: dict[str, Any] = {name: getattr(params, name) for name in names.get(params.backend, ())}
    return load(capability, params.backend, ModelContext.from_settings(context.models, options=options))
