"""SAM 3 (Meta 2025) from transformers: segments a subject from a text prompt."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.runtime.batching import Batcher
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption, UnsupportedSubject
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import TransformerModel, batch_size, load_transformer
from scenewright_stages.backends.runtime.tensors import Returning, device_batch, normalised, resized, returning, staged
from scenewright_stages.backends.segment.interface import Box, Subject, SubjectKind, check_subject, matte_of
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte
from scenewright_stages.vision.types import Float32Array

_MEAN = _DEVIATION = (0.5, 0.5, 0.5)
_PROMPT_TOKENS = 32  # the text encoder's fixed length
_LIKELY = 0.5  # minimum score of an instance


@dataclass(frozen=True)
class _Question:
    image: Tensor
    prompt: str
    box: Box | None


@dataclass(frozen=True)
class _Found:
    probability: Returning
    score: Returning


class Sam3Segmenter(TransformerModel):
    """Segments the best, the largest or all instances of a prompt; with a box, the likely instance that fits it best.

    Args:
        model: a ``Sam3Model``.
        tokenizer: its CLIP tokenizer.
        record: for sample records.
        device: where it runs.
        batch: maximum batch size.
        threshold: minimum score of an instance.
        people: ``all`` likely instances together, the ``largest`` one, or, if empty, the best one.
    """

    reads: frozenset[SubjectKind] = frozenset({"text", "box"})

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        record: BackendRecord,
        device: str,
        batch: int = 8,
        threshold: float = _LIKELY,
        people: str = "",
    ) -> None:
        super().__init__(model, record, device)
        self._tokenizer, self._threshold, self._people = tokenizer, threshold, people
        self._texts: dict[str, tuple[Any, Tensor]] = {}
        largest = batch if device != "cpu" else 1
        self._ask: Batcher[_Question, _Found] = Batcher(
            self._answer, lambda question: (question.prompt, tuple(question.image.shape)), largest
        )

    def segment(self, srgb: Float32Array, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``; nothing is drawn."""
        check_subject(self, srgb, subject)
        if not subject.text:
            raise UnsupportedSubject(self.record.backend, "looks for a text", "say what the subject is, such as person")
        found = self._ask(_Question(staged(srgb, self.device), subject.text, subject.box))
        score = float(found.score.array())
        if not score > self._threshold:
            raise NoSubject(f"SAM 3 found no {subject.text!r} (best score {score:.2f}, needed {self._threshold:g})")
        grid = int(self.model.config.image_size) * 2 // 7  # 288 of 1008: the mask decoder's grid
        blocks = max(1, round(max(srgb.shape[:2]) / grid))
        return matte_of(srgb, found.probability.array(), score, "sam3", blocks)

    def release(self) -> None:
        """Free the model's memory."""
        self._ask.close()
        self._texts.clear()
        super().release()

    @torch.inference_mode()
    def _answer(self, questions: list[_Question]) -> list[_Found]:
        model = self.model
        images = device_batch([question.image for question in questions], self.device)
        height, width = images.shape[-2:]
        side = int(model.config.image_size)
        pixels = normalised(resized(images, side, side), _MEAN, _DEVIATION).to(model.dtype)
        features, mask = self._text(questions[0].prompt)
        outputs = model(
            pixel_values=pixels,
            text_embeds=_repeated(features, len(questions)),
            attention_mask=mask.expand(len(questions), -1),
        )
        scores = outputs.pred_logits.float().sigmoid()
        if outputs.presence_logits is not None:
            scores = scores * outputs.presence_logits.float().sigmoid().reshape(-1, 1)
        chosen = self._chosen(scores, outputs.pred_boxes.float(), questions, (height, width))
        rows = torch.arange(len(questions), device=chosen.device)
        coarse = self._masks(outputs.pred_masks, scores, chosen, questions)
        probability = functional.interpolate(coarse[:, None], (height, width), mode="bilinear", align_corners=False)
        pairs = zip(returning(probability[:, 0]), returning(scores[rows, chosen]), strict=True)
        return [_Found(probability, score) for probability, score in pairs]

    def _chosen(self, scores: Tensor, boxes: Tensor, questions: list[_Question], size: tuple[int, int]) -> Tensor:
        """(N,) the chosen instance of each image."""
        best = scores.argmax(dim=1)
        for row, question in enumerate(questions):
            if question.box is not None:
                wanted = tuple(edge / size[1 - k % 2] for k, edge in enumerate(question.box))
                fits = [overlap(wanted, tuple(other)) for other in boxes[row].tolist()]  # type: ignore[arg-type]
                fit = torch.tensor(fits, device=scores.device)
                best[row] = torch.where(scores[row] > self._threshold, fit, fit - 2).argmax()
        return best

    def _masks(self, logits: Tensor, scores: Tensor, chosen: Tensor, questions: list[_Question]) -> Tensor:
        """(N, h, w) probability of each image's subject, from (N, instances, h, w) logits."""
        found = []
        for row, question in enumerate(questions):
            instances = logits[row].float().sigmoid()
            likely = instances * (scores[row] > self._threshold)[:, None, None]
            if question.box is not None or not self._people:
                found.append(instances[chosen[row]])
            elif self._people == "all":
                found.append(likely.amax(dim=0))
            else:
                found.append(likely[likely.mean(dim=(1, 2)).argmax()])
        return torch.stack(found)

    def _text(self, prompt: str) -> tuple[Any, Tensor]:
        """Features and mask of a prompt, cached."""
        if prompt not in self._texts:
            tokens = self._tokenizer(
                [prompt], padding="max_length", max_length=_PROMPT_TOKENS, truncation=True, return_tensors="pt"
            )
            tokens = {name: values.to(self.device) for name, values in tokens.items()}
            mask = tokens["attention_mask"]
            features = self.model.get_text_features(tokens["input_ids"], mask, return_dict=True)
            self._texts[prompt] = (features, mask)
        return self._texts[prompt]


def _repeated(features: Any, count: int) -> Any:
    """The text features for each image of a batch."""
    repeated = type(features)(**{name: value for name, value in features.items() if value is not None})
    repeated.pooler_output = features.pooler_output.expand(count, -1, -1)
    return repeated


def load_sam3(request: LoadRequest) -> Sam3Segmenter:
    """Load the published weights and tokenizer from their folder.

    Raises:
        UnsupportedOption: a batch below 1 or a threshold outside [0, 1].
    """
    batch, threshold = batch_size(request, 8), float(request.context.option("threshold", _LIKELY))
    if not 0 <= threshold <= 1:
        raise UnsupportedOption("sam3.threshold", threshold, ["0 to 1"])
    model, record = load_transformer("Sam3Model", request, on_gpu="bf16")
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(request.folder, local_files_only=True)
    people = str(request.context.option("people", ""))
    return Sam3Segmenter(model, tokenizer, record, request.context.device, batch, threshold, people)


def overlap(box: Box, other: Box) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((one[2] - one[0]) * (one[3] - one[1]) for one in (box, other))
    return shared / (areas - shared) if areas > shared else 0.0
