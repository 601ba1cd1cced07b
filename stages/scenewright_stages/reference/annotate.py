"""Step 6: masks, labels and the split, as a YOLO data set for segmentation."""

from __future__ import annotations

import hashlib
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np

from scenewright_stages.backends.locate.interface import Exemplar
from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import one_thread_each, read_rgb, read_rgba, unit_from_bytes
from scenewright_stages.reference.family import MIXED
from scenewright_stages.reference.files import read_mask
from scenewright_stages.reference.listing import class_name, class_names
from scenewright_stages.reference.locating import ObjectLocator
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.polygons import label_line, polygon_of
from scenewright_stages.reference.scenes import box_of
from scenewright_stages.vision.imaging.matting import NoSubject
from scenewright_stages.vision.imaging.regions import overlap
from scenewright_stages.vision.types import Mask

OBJECT_ABSENT = "object-absent"
SPLIT_MIXED = "split-mixed"
USE = BackendUse("annotate", "exact", notes="The mask is what the compositor knows.")


class AnnotateStage(Stage[ReferenceObjectParams]):
    """Labels images."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        block = self.params.annotate
        self._locator = None if block.backend == "exact" else ObjectLocator(block, context.models)
        self._exemplars: dict[str, Exemplar] = {}
        self._lock = threading.Lock()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the image into its split, with its label; an empty scene gets an empty label file.

        Raises:
            SampleRejected: the object is hardly visible (``object-absent``), or scene and view belong to different
                splits (``split-mixed``).
        """
        attributes, params = sample.attributes, inputs.params
        if attributes["split"] == MIXED:
            raise SampleRejected(SPLIT_MIXED, "its scene and its view belong to different splits")
        source = inputs.path("vary", "combined") if params.vary.enabled else inputs.path("scenes", "image")
        names = class_names(attributes["roster"], params.object_name)
        name = class_name(attributes["class"], attributes["title"], params.object_name)
        number = names.index(name)
        drawn = inputs.find("scenes", "mask")
        known = None if drawn is None else read_mask(drawn)
        mask, judged, uses = self._found(sample, inputs, source, name, known)
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
            **judged,
        }
        outputs: dict[str, Made] = {
            "image": image,
            "label": label,
            "mask": Pixels(mask.astype(np.uint8) * np.uint8(255)),
        }
        return StageResult(outputs, metrics, (), uses)

    def reduce_memory(self) -> bool:
        """Switches to SAM's next smaller weights."""
        return self._locator is not None and self._locator.use_smaller()

    def _found(
        self, sample: Sample, inputs: StageInputs[ReferenceObjectParams], source: Path, name: str, known: Mask | None
    ) -> tuple[Mask, dict[str, Any], list[BackendUse]]:
        """The object's mask, metrics, and the backends used. An empty scene stays empty, even if something is found.

        Raises:
            SampleRejected: the object was not found (``object-absent``).
        """
        if self._locator is None:
            if known is None:
                raise AssertionError("without a known mask the parameters name a method that finds one")
            return known, {}, [USE]
        srgb = unit_from_bytes(read_rgb(source))
        nothing = np.zeros(srgb.shape[:2], bool)
        try:
            found, uses = self._locator.find(self._exemplar(inputs), name, srgb)
        except NoSubject as absent:
            if sample.attributes["empty"]:
                return nothing, {"false_alarm": False}, []
            raise SampleRejected(OBJECT_ABSENT, absent.message) from absent
        if sample.attributes["empty"]:
            return nothing, {"score": found.score, "false_alarm": True}, uses
        judged: dict[str, Any] = {"score": found.score, "method": found.method}
        if known is not None:
            judged["overlap"] = round(overlap(found.mask, known), 4)
        return found.mask, judged, uses

    def _exemplar(self, inputs: StageInputs[ReferenceObjectParams]) -> Exemplar:
        """The object in its photo, or as repainted by the white stage; read once."""
        painted = inputs.find("white", "exemplar")
        photo, cutout = (
            (painted, painted) if painted else (inputs.path("white", "photo"), inputs.path("white", "cutout"))
        )
        name = hashlib.blake2b(photo.read_bytes() + cutout.read_bytes(), digest_size=16).hexdigest()
        with self._lock:
            if name not in self._exemplars:
                alpha = unit_from_bytes(read_rgba(cutout)[1])
                srgb = unit_from_bytes(read_rgba(cutout)[0] if painted else read_rgb(photo))
                self._exemplars[name] = Exemplar(name, srgb, alpha)
            return self._exemplars[name]


def _label(mask: Mask, number: int, least: float) -> str:
    """The YOLO label line of an image with the object.

    Raises:
        SampleRejected: the object is hardly visible.
    """
    height, width = mask.shape
    polygon = polygon_of(mask) if float(mask.mean()) >= least else np.zeros((0, 2))
    if len(polygon) < 3:
        raise SampleRejected(OBJECT_ABSENT, f"the object covers {float(mask.mean()):.3%} of the image")
    return label_line(number, polygon, width, height) + "\n"
