"""Step 7: adds degraded copies of annotated images, with unchanged labels."""

from __future__ import annotations

import shutil

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import one_thread_each, read_rgb
from scenewright_stages.reference.degradation import Chances, degraded, drawn
from scenewright_stages.reference.files import read_mask
from scenewright_stages.reference.params import AugmentParams, ReferenceObjectParams
from scenewright_stages.reference.scenes import box_of

USE = BackendUse("augment", "classic", notes="Colours, blur and compression; geometry and labels stay.")
_LONG = 0.25
"""Of the object's shorter side: a longer blur leaves little of its shape."""


class AugmentStage(Stage[ReferenceObjectParams]):
    """Degrades images."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        self._chances = chances(self.params.augment)

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes a degraded copy (the first copy is the image itself), and the label byte for byte."""
        source, text = inputs.path("annotate", "image"), inputs.path("annotate", "label")
        label = inputs.workspace / "label.txt"
        shutil.copyfile(text, label)
        if sample.attributes["copy"] == 0:
            image = inputs.workspace / "image.png"
            shutil.copyfile(source, image)
            return StageResult({"image": image, "label": label}, {"copy": 0, "split": sample.attributes["split"]})
        how = drawn(self._chances, inputs.seed)
        made = Pixels(degraded(read_rgb(source), how))
        box = box_of(read_mask(inputs.path("annotate", "mask")))
        long = bool(box and how.blur and how.blur > _LONG * min(box[2] - box[0], box[3] - box[1]))
        metrics = {
            "copy": sample.attributes["copy"],
            "split": sample.attributes["split"],
            "long_blur": long,
            **how.as_dict(),
        }
        outputs: dict[str, Made] = {"image": made, "label": label, "degraded": made, "degraded_label": label}
        return StageResult(outputs, metrics, (), [USE])


def chances(block: AugmentParams) -> Chances:
    """The block's probabilities and ranges by degradation step."""
    return Chances(
        {
            "bw": block.bw_probability,
            "saturation": block.saturation_probability,
            "contrast": block.contrast_probability,
            "brightness": block.brightness_probability,
            "motion_blur": block.motion_blur_probability,
            "compression": block.compression_noise_probability,
        },
        {
            "saturation": _pair(block.saturation_range),
            "contrast": _pair(block.contrast_range),
            "brightness": _pair(block.brightness_range),
            "motion_blur": _pair(block.motion_blur_range),
            "compression_iterations": _pair(block.compression_iterations_range),
            "compression_quality": _pair(block.compression_quality_range),
        },
    )


def _pair(values: list[float] | list[int]) -> tuple[float, float]:
    return float(values[0]), float(values[1])
