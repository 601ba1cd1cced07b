"""SAM 2.1 (Ravi et al. 2024) from the package ``sam2``: segments a subject from a box, points or a rough mask.

SAM 2 has no text prompts. A rough mask becomes its box and innermost point. Without box, points or mask the prompt is a
head-and-shoulders box around the clearest face. Without a face the image is rejected, or its centre is used if
``without_face`` is ``centre``.
"""

from __future__ import annotations

import importlib
import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scenewright_stages.backends.runtime.batching import Batcher
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.checkpoints import network_shape
from scenewright_stages.backends.runtime.errors import BrokenWeights, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import TransformerModel, batch_size
from scenewright_stages.backends.runtime.tensors import (
    Returning,
    device_batch,
    normalised,
    resized,
    returning,
    staged,
    torch_dtype,
)
from scenewright_stages.backends.segment.interface import (
    Box,
    Subject,
    SubjectKind,
    SubjectPoint,
    check_subject,
    matte_of,
    subject_of,
)
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte
from scenewright_stages.vision.subjects.people import portrait_box
from scenewright_stages.vision.types import Float32Array

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LIKELY = 0.5
_MASK_GRID = 256
_LONGEST_MESSAGE = 300
_OUTSIDE, _INSIDE, _CORNERS = 0, 1, (2, 3)


@dataclass(frozen=True)
class Sam2Settings:
    """Settings.

    Attributes:
        batch: maximum batch size.
        threshold: minimum predicted IoU at which a mask is accepted.
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
        """Requests with equal groups can share a batch."""
        return tuple(self.image.shape), self.box is None, len(self.points)


class Sam2Segmenter(TransformerModel):
    """Segments the subject in a box or at points."""

    reads: frozenset[SubjectKind] = frozenset({"box", "points", "mask"})

    def __init__(self, model: Any, record: BackendRecord, device: str, settings: Sam2Settings | None = None) -> None:
        super().__init__(model, record, device)
        self._settings = settings or Sam2Settings()
        batch = self._settings.batch if device != "cpu" else 1
        self._ask: Batcher[_Question, tuple[Returning, Returning]] = Batcher(
            self._answer, lambda question: question.group, batch
        )

    def segment(self, srgb: Float32Array, subject: Subject, seed: int = 0) -> SubjectMatte:
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

    def _box(self, srgb: Float32Array) -> Box:
        """The box prompt. Raises NoSubject."""
        found = portrait_box(srgb)
        if found is not None:
            return found
        if self._settings.without_face == "reject":
            raise NoSubject("no face was found; SAM 2 understands no text, so it needs a face, a box or points")
        height, width = srgb.shape[:2]
        return 0.2 * width, 0.1 * height, 0.8 * width, float(height)

    @torch.inference_mode()
    def _answer(self, questions: list[_Question]) -> list[tuple[Returning, Returning]]:
        images = device_batch([question.image for question in questions], self.device)
        height, width = images.shape[-2:]
        side = self.model.image_size
        pixels = normalised(resized(images, side, side), _MEAN, _DEVIATION)
        places, labels = _prompts(questions, (side / width, side / height), self.device)
        logits, likely = self._masks(pixels, places, labels)
        probability = torch.nn.functional.interpolate(
            logits[:, :1].float(), (height, width), mode="bilinear", align_corners=False
        ).sigmoid()
        return list(zip(returning(probability[:, 0]), returning(likely[:, 0]), strict=True))

    def _masks(self, pixels: Tensor, places: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, h, w) logits and (N, 1) likelihoods, by the steps of the package's ``SAM2ImagePredictor``.

        The predictor decodes one image at a time and needs torchvision; this decodes a batch. Prompts are encoded in
        float32, because bf16 coordinates have a resolution of only four pixels in 1,024.
        """
        model, dtype = self.model, torch_dtype(self.record.precision)
        sparse, dense = model.sam_prompt_encoder(points=(places, labels), boxes=None, masks=None)
        with torch.autocast(torch.device(self.device).type, dtype, enabled=dtype != torch.float32):
            *fine, coarse = model.forward_image(pixels)["backbone_fpn"]
            logits, likely, _, _ = model.sam_mask_decoder(
                image_embeddings=coarse + model.no_mem_embed.reshape(1, -1, 1, 1),
                image_pe=model.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
                repeat_image=False,
                high_res_features=fine,
            )
        return logits, likely


def _prompts(questions: list[_Question], scale: tuple[float, float], device: str) -> tuple[Tensor, Tensor]:
    """(N, P, 2) float32 points, in pixels of the model's input square, and (N, P) int32 labels.

    All requests of a batch have equally many points; a box is two points.
    """
    places, labels = [], []
    for question in questions:
        corners = [] if question.box is None else [question.box[:2], question.box[2:]]
        places.append([*corners, *((point.x, point.y) for point in question.points)])
        kinds = [_INSIDE if point.inside else _OUTSIDE for point in question.points]
        labels.append([*_CORNERS[: len(corners)], *kinds])
    scaled = torch.tensor(places, dtype=torch.float32) * torch.tensor(scale)
    return scaled.to(device), torch.tensor(labels, dtype=torch.int32).to(device)


def load_sam2(request: LoadRequest) -> Sam2Segmenter:
    """Load the published checkpoint from its folder.

    Raises:
        UnsupportedOption: a batch below 1 or a threshold outside [0, 1].
        BrokenWeights: the checkpoint does not match the network.
    """
    threshold = float(request.context.option("threshold", _LIKELY))
    if not 0 <= threshold <= 1:
        raise UnsupportedOption("sam2.threshold", threshold, ["0 to 1"])
    without_face = str(request.context.option("without_face", "reject"))
    settings = Sam2Settings(batch_size(request, 8), threshold, without_face)
    device = request.context.device
    precision = str(request.context.option("precision", "fp32" if device == "cpu" else "bf16"))
    network = load_network(request.folder, request.record.weights_id).to(device)
    return Sam2Segmenter(network, replace(request.record, precision=precision), device, settings)


def load_network(folder: Path, weights_id: str) -> Any:
    """The package's network with the weights of a published checkpoint, on the CPU.

    Args:
        folder: with the checkpoint (``{"model": state dict}``); ``network.json`` beside it may name other sizes, as
            ``{"image_encoder.trunk.embed_dim": 8}``.
        weights_id: which of the published models it is.

    Raises:
        BrokenWeights: the checkpoint cannot be read, or a tensor's name or shape is not the network's.
    """
    package: Any = importlib.import_module("sam2.build_sam")
    configuration, checkpoint = package.HF_MODEL_ID_TO_FILENAMES[weights_id]
    sizes: list[str] = network_shape(folder, weights_id, [], _other_sizes)
    path = folder / checkpoint
    try:
        return package.build_sam2(configuration, str(path), "cpu", hydra_overrides_extra=sizes)
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        problem = " ".join(str(error).split())[:_LONGEST_MESSAGE]
        raise BrokenWeights(weights_id, path, f"it is not the network's checkpoint: {problem}") from error


def _other_sizes(path: Path) -> list[str]:
    """Overrides of the package's configuration. Raises ValueError or TypeError unless they are sizes."""
    sizes: dict[str, object] = dict(json.loads(path.read_text(encoding="utf-8")))
    for name in sizes:
        if any(part.startswith("_") for part in name.split(".")):
            raise ValueError(f"{name} is not a size")
    return [f"++model.{name}={json.dumps(value)}" for name, value in sizes.items()]
