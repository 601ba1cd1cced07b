"""SAM 2.1 (Ravi et al. 2024) by transformers: a subject from a box, from points, or from a rough mask.

It understands no text. Of a rough mask it takes the box and the place deepest inside. With nothing given it is asked
for head and shoulders around the clearest face; without a face the picture is rejected, or, with
``without_face: centre``, what lies in its middle is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scenewright_stages.backends.batching import Batcher
from scenewright_stages.backends.capability import BackendRecord, FloatImage
from scenewright_stages.backends.errors import UnsupportedOption
from scenewright_stages.backends.loading import LoadRequest
from scenewright_stages.backends.pretrained import TransformerModel, batch_size, load_transformer
from scenewright_stages.backends.segment.interface import (
    Box,
    Subject,
    SubjectKind,
    SubjectPoint,
    check_subject,
    matte_of,
    subject_of,
)
from scenewright_stages.backends.tensors import Returning, device_batch, normalised, resized, returning, staged
from scenewright_stages.vision.matting import NoSubject, SubjectMatte
from scenewright_stages.vision.people import portrait_box

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LIKELY = 0.5
_MASK_GRID = 256


@dataclass(frozen=True)
class Sam2Settings:
    """How it is asked.

    Attributes:
        batch: most images at a time.
        threshold: the model's own estimate of its mask's overlap with the truth, from which it is taken.
        without_face: ``reject`` or ``centre``.
    """

    batch: int = 8
    threshold: float = _LIKELY
    without_face: str = "reject"


@dataclass(frozen=True)
class _Question:
    image: Tensor
    box: Box | None
    points: tuple[SubjectPoint, ...]

    @property
    def group(self) -> tuple[object, ...]:
        """Questions of one group fit into one batch."""
        return tuple(self.image.shape), self.box is None, len(self.points)


class Sam2Segmenter(TransformerModel):
    """The subject in a box or at points."""

    reads: frozenset[SubjectKind] = frozenset({"box", "points", "mask"})

    def __init__(self, model: Any, record: BackendRecord, device: str, settings: Sam2Settings | None = None) -> None:
        super().__init__(model, record, device)
        self._settings = settings or Sam2Settings()
        batch = self._settings.batch if device != "cpu" else 1
        self._ask: Batcher[_Question, tuple[Returning, Returning]] = Batcher(
            self._answer, lambda question: question.group, batch
        )

    def segment(self, srgb: FloatImage, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``; nothing is drawn."""
        check_subject(self, srgb, subject)
        if subject.mask is not None:
            if not subject.mask.any():
                raise NoSubject("the rough mask is empty")
            rough = subject_of(subject.mask)
            subject = Subject(points=subject.points or rough.points, box=subject.box or rough.box)
        box = subject.box if subject.given else self._box(srgb)
        probability, score = self._ask(_Question(staged(srgb, self.device), box, subject.points))
        likely = float(score.array())
        if not likely > self._settings.threshold:
            raise NoSubject(f"SAM 2 is not sure of its mask ({likely:.2f}, needed {self._settings.threshold:g})")
        blocks = max(1, round(max(srgb.shape[:2]) / _MASK_GRID))
        return matte_of(srgb, probability.array(), likely, "sam2", blocks)

    def release(self) -> None:
        """Free the model's memory."""
        self._ask.close()
        super().release()

    def _box(self, srgb: FloatImage) -> Box:
        """The box to ask for. Raises NoSubject."""
        found = portrait_box(srgb)
        if found is not None:
            return found
        if self._settings.without_face == "reject":
            raise NoSubject("no face was found; SAM 2 understands no text, so it needs a face, a box or points")
        height, width = srgb.shape[:2]
        return 0.2 * width, 0.1 * height, 0.8 * width, float(height)

    @torch.inference_mode()
    def _answer(self, questions: list[_Question]) -> list[tuple[Returning, Returning]]:
        model = self.model
        images = device_batch([question.image for question in questions], self.device)
        height, width = images.shape[-2:]
        rows, columns = model_size(model)
        pixels = normalised(resized(images, rows, columns), _MEAN, _DEVIATION).to(model.dtype)
        prompts = _prompts(questions, (columns / width, rows / height), self.device, model.dtype)
        outputs = model(pixel_values=pixels, **prompts, multimask_output=False)
        probability = torch.nn.functional.interpolate(
            outputs.pred_masks[:, 0].float(), (height, width), mode="bilinear", align_corners=False
        ).sigmoid()
        return list(zip(returning(probability[:, 0]), returning(outputs.iou_scores[:, 0, 0]), strict=True))


def _prompts(
    questions: list[_Question], scale: tuple[float, float], device: str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Boxes and points of a batch, all given in the same way, in pixels of the picture that the model sees."""
    prompts: dict[str, Tensor] = {}
    boxes = [question.box for question in questions if question.box is not None]
    if boxes:
        scaled = torch.tensor(boxes) * torch.tensor([*scale, *scale])
        prompts["input_boxes"] = scaled[:, None].to(device, dtype)
    if questions[0].points:
        places = [[(point.x, point.y) for point in question.points] for question in questions]
        labels = [[int(point.inside) for point in question.points] for question in questions]
        prompts["input_points"] = (torch.tensor(places) * torch.tensor(scale))[:, None].to(device, dtype)
        prompts["input_labels"] = torch.tensor(labels, dtype=torch.int32)[:, None].to(device)
    return prompts


def model_size(model: Any) -> tuple[int, int]:
    """Rows and columns of the picture that the model sees."""
    size = model.config.vision_config.backbone_config.image_size
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def load_sam2(request: LoadRequest) -> Sam2Segmenter:
    """Load the published weights from their folder.

    Raises:
        UnsupportedOption: a batch below 1 or a threshold outside [0, 1].
    """
    threshold = float(request.context.option("threshold", _LIKELY))
    if not 0 <= threshold <= 1:
        raise UnsupportedOption("sam2.threshold", threshold, ["0 to 1"])
    without_face = str(request.context.option("without_face", "reject"))
    settings = Sam2Settings(batch_size(request, 8), threshold, without_face)
    model, record = load_transformer("Sam2Model", request)
    return Sam2Segmenter(model, record, request.context.device, settings)
