"""Step 6: masks, labels and the split, as a YOLO data set for segmentation."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import one_thread_each
from scenewright_stages.reference.family import MIXED
from scenewright_stages.reference.files import read_mask
from scenewright_stages.reference.listing import class_name, class_names
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.scenes import box_of
from scenewright_stages.vision.polygons import label_line, polygon_of

Mask = NDArray[np.bool_]

OBJECT_ABSENT = "object-absent"
SPLIT_MIXED = "split-mixed"
USE = BackendUse("annotate", "exact", notes="The mask is what the compositor knows.")


class AnnotateStage(Stage[ReferenceObjectParams]):
    """Labels images."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the image into its split, with its label; that of an empty scene is an empty file.

        Raises:
            SampleRejected: hardly anything of the object shows (``object-absent``), or scene and view belong to
                different splits (``split-mixed``).
        """
        attributes, params = sample.attributes, inputs.params
        if attributes["split"] == MIXED:
            raise SampleRejected(SPLIT_MIXED, "its scene and its view belong to different splits")
        source = inputs.path("vary", "combined") if params.vary.enabled else inputs.path("scenes", "image")
        mask = read_mask(inputs.path("scenes", "mask"))
        names = class_names(attributes["roster"], params.object_name)
        name = class_name(attributes["class"], attributes["title"], params.object_name)
        number = names.index(name)
        line = "" if attributes["empty"] else _label(mask, number, params.annotate.minimum_area)
        image, label = inputs.workspace / "image.png", inputs.workspace / "label.txt"
        shutil.copyfile(source, image)
        label.write_bytes(line.encode())
        metrics: dict[str, Any] = {
            "class": name,
            "class_number": number,
            "split": attributes["split"],
            "empty": attributes["empty"],
            "box": box_of(mask),
            "area": int(mask.sum()),
            "vertices": max(0, (len(line.split()) - 1) // 2),
        }
        outputs: dict[str, Made] = {
            "image": image,
            "label": label,
            "mask": Pixels(mask.astype(np.uint8) * np.uint8(255)),
        }
        return StageResult(outputs, metrics, (), [USE])


def _label(mask: Mask, number: int, least: float) -> str:
    """The line of an image with the object.

    Raises:
        SampleRejected: hardly anything of it shows.
    """
    height, width = mask.shape
    polygon = polygon_of(mask) if float(mask.mean()) >= least else np.zeros((0, 2))
    if len(polygon) < 3:
        raise SampleRejected(OBJECT_ABSENT, f"the object covers {float(mask.mean()):.3%} of the image")
    return label_line(number, polygon, width, height) + "\n"
