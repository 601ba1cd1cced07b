"""PerSAM and PerSAM-F (Zhang et al. 2023) on transformers' SAM: segments the object shown by one photo and its mask.

The photo's features give the positions in an image that look most and least like the object; the first mask is refined
twice. PerSAM guides the decoder (:mod:`.guided_decoder`). PerSAM-F mixes SAM's three masks with weights fitted to the
photo; only the weights change, so the decoder runs once for all epochs. Neither method detects an absent object. Here,
the features under the mask decide: they are compared with the target's, on a scale where the photo's own background is
0 and the target is 1.

On purpose, pictures that are not square differ from the published code. It stretches the similarity of the whole
picture over the square grid of features, which SAM has padded on one side, so that the guidance of the decoder lies
beside the object. Here the similarity stays in the padded square: every cell is guided by its own similarity, and mean
and deviation are those of the picture without its padding. On square pictures both are the same.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.locate.guided_decoder import Guidance, decode
from scenewright_stages.backends.locate.interface import LIKELY, Exemplar, check_score, threshold_of
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import TransformerModel, load_transformer
from scenewright_stages.backends.runtime.tensors import device_batch, normalised, resized, staged
from scenewright_stages.backends.segment.interface import matte_of
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte
from scenewright_stages.vision.types import Float32Array

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_INSIDE = 0.485
"""Of a mask that is shrunk to the features' grid: from here on a cell belongs to the target."""
_UPSAMPLED = 4


@dataclass(frozen=True)
class FitSettings:
    """How PerSAM-F fits its weights.

    Attributes:
        learning_rate: of AdamW, falling to 0 along a cosine.
        epochs: steps.
        log_epochs: steps between two lines of the log.
    """

    learning_rate: float = 1e-3
    epochs: int = 1000
    log_epochs: int = 200


@dataclass(frozen=True, eq=False)
class Seen:
    """An encoded image.

    Attributes:
        features: (1, C, h, w).
        size: (rows, columns) of the image.
        fitted: its size inside the model's padded square.
    """

    features: Tensor
    size: tuple[int, int]
    fitted: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Target:
    """The object's features.

    Attributes:
        direction: (C,) unit vector that an image's features are compared with.
        embedding: (C,) mean feature of the object.
        background: cosine of the photo's own background with the object's mean.
        weights: (3,) of the decoder's masks, for PerSAM-F; None for PerSAM.
    """

    direction: Tensor
    embedding: Tensor
    background: float
    weights: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Prompt:
    """A decoder prompt, in pixels of the padded square."""

    points: Tensor
    labels: Tensor
    box: Tensor | None = None
    logits: Tensor | None = None


class PersamLocator(TransformerModel):
    """See the module.

    Args:
        model: a ``SamModel``.
        record: goes into the samples' records.
        device: where it runs.
        threshold: score from which the object counts as found.
        fit: None for PerSAM, else how PerSAM-F fits.
    """

    def __init__(
        self,
        model: Any,
        record: BackendRecord,
        device: str,
        threshold: float = LIKELY,
        fit: FitSettings | None = None,
    ) -> None:
        super().__init__(model, record, device)
        self._threshold, self._fit = threshold, fit
        self._targets: dict[str, Target] = {}
        self._lock = threading.Lock()

    @torch.inference_mode()
    def locate(self, exemplar: Exemplar, srgb: Float32Array) -> SubjectMatte:
        """See ``Locator.locate``."""
        with self._lock:
            if exemplar.name not in self._targets:
                self._targets[exemplar.name] = self.target_of(exemplar)
            target = self._targets[exemplar.name]
            picture = self.see(srgb)
            low = self.answer(picture, target)
            score = self._likeness(picture, target, low)
            check_score(score, self._threshold)
            probability = self._enlarged(low[None], picture)[0].sigmoid().float().cpu().numpy()
        blocks = max(1, round(max(picture.size) / low.shape[-1]))
        return matte_of(srgb, probability, score, self.record.backend, blocks)

    def release(self) -> None:
        """Free the model's memory."""
        self._targets.clear()
        super().release()

    @torch.inference_mode()
    def see(self, srgb: Float32Array) -> Seen:
        """Encodes an image, resized so that its longer side fills the model's padded square."""
        side = int(self.model.config.vision_config.image_size)
        height, width = srgb.shape[:2]
        factor = side / max(height, width)
        fitted = (int(height * factor + 0.5), int(width * factor + 0.5))
        pixels = normalised(resized(device_batch([staged(srgb, self.device)], self.device), *fitted), _MEAN, _DEVIATION)
        padded = functional.pad(pixels, (0, side - fitted[1], 0, side - fitted[0]))
        features = self.model.get_image_embeddings(padded.to(self.model.dtype))
        return Seen(features, (height, width), fitted)

    @torch.inference_mode()
    def target_of(self, exemplar: Exemplar) -> Target:
        """The object's features from its photo; with fitted weights for PerSAM-F.

        Raises:
            BackendContractError: the object is too small for a single cell of the features.
        """
        seen = self.see(exemplar.srgb)
        mask = torch.from_numpy(exemplar.mask).to(self.device, torch.float32)
        inside = self._on_grid(mask, seen) > _INSIDE
        features = seen.features[0].float()
        if not inside.any():
            raise BackendContractError("the object covers less than a cell of the features; use a closer photo")
        own = features[:, inside]
        mean = own.mean(dim=1)
        within = self._on_grid(torch.ones_like(mask), seen) > _INSIDE
        beside = features[:, within & ~inside]
        background = float(functional.cosine_similarity(beside.mean(dim=1), mean, dim=0)) if beside.numel() else 0.0
        described = mean if self._fit is None else (own.amax(dim=1) + mean) / 2
        target = Target(described / described.norm(), mean, background)
        if self._fit is None:
            return target
        points, labels = self.points(self.similarity(seen, target), seen, with_background=False)
        low, _ = self._decoded(seen, _Prompt(points, labels))
        weights = fitted_weights(self._enlarged(low, seen).flatten(1), mask.flatten(), self._fit)
        return Target(target.direction, mean, background, weights)

    def similarity(self, seen: Seen, target: Target) -> Tensor:
        """(side, side) cosine similarity of the image's features with the target, in the padded square."""
        features = seen.features[0].float()
        cosine = torch.einsum("c,chw->hw", target.direction, features / features.norm(dim=0, keepdim=True))
        return self._square(functional.interpolate(cosine[None, None], scale_factor=_UPSAMPLED, mode="bilinear"))[0, 0]

    def points(self, similarity: Tensor, seen: Seen, with_background: bool) -> tuple[Tensor, Tensor]:
        """The positions most and least similar to the target, as points and labels of a prompt."""
        rows, columns = seen.fitted
        shown = functional.interpolate(similarity[None, None, :rows, :columns], seen.size, mode="bilinear")[0, 0]
        places = [int(shown.argmax()), *([int(shown.argmin())] if with_background else [])]
        width = seen.size[1]
        scale = torch.tensor([columns / seen.size[1], rows / seen.size[0]], dtype=torch.float32)
        points = torch.tensor([[place % width, place // width] for place in places], dtype=torch.float32) * scale
        labels = torch.tensor([1, 0][: len(places)], dtype=torch.int32)
        return points[None, None].to(self.device), labels[None, None].to(self.device)

    def answer(self, seen: Seen, target: Target) -> Tensor:
        """(h, w) logits of the object after both refinements.

        Raises:
            NoSubject: a mask came out empty.
        """
        similarity = self.similarity(seen, target)
        points, labels = self.points(similarity, seen, with_background=target.weights is None)
        if target.weights is None:
            low, _ = self._decoded(seen, _Prompt(points, labels), False, self.guidance(similarity, seen, target))
            low, quality = self._decoded(seen, _Prompt(points, labels, logits=low[0]))
            best = low[quality.argmax()]
        else:
            low, _ = self._decoded(seen, _Prompt(points, labels))
            mixed = (target.weights.to(low.dtype)[:, None, None] * low).sum(dim=0)
            low, quality = self._decoded(seen, _Prompt(points, labels, self._box(mixed, seen), mixed))
            best = low[quality.argmax()]
        low, quality = self._decoded(seen, _Prompt(points, labels, self._box(best, seen), best))
        return low[quality.argmax()].float()

    def guidance(self, similarity: Tensor, seen: Seen, target: Target) -> Guidance:
        """Decoder guidance: the similarity, standardised over the image, through a sigmoid."""
        shown = similarity[: seen.fitted[0], : seen.fitted[1]]
        standard = (similarity - shown.mean()) / shown.std()
        cells = functional.interpolate(standard[None, None], seen.features.shape[-2:], mode="bilinear")
        dtype = seen.features.dtype
        return Guidance(cells.sigmoid().flatten(), target.embedding.to(dtype))

    def _decoded(
        self, seen: Seen, prompt: _Prompt, multimask: bool = True, guidance: Guidance | None = None
    ) -> tuple[Tensor, Tensor]:
        sparse, dense = self.model.prompt_encoder(
            input_points=prompt.points,
            input_labels=prompt.labels,
            input_boxes=prompt.box,
            input_masks=None if prompt.logits is None else prompt.logits[None, None].to(self.model.dtype),
        )
        return decode(self.model, seen.features, sparse, dense, multimask, guidance)

    def _box(self, logits: Tensor, seen: Seen) -> Tensor:
        """(1, 1, 4) around a mask, in pixels of the padded square. Raises NoSubject for an empty one."""
        rows, columns = torch.nonzero(self._enlarged(logits[None], seen)[0] > 0, as_tuple=True)
        if not len(rows):
            raise NoSubject("SAM's mask is empty")
        edges = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()]).float()
        scale = torch.tensor([seen.fitted[1] / seen.size[1], seen.fitted[0] / seen.size[0]] * 2, device=edges.device)
        return (edges * scale)[None, None]

    def _square(self, cells: Tensor) -> Tensor:
        """(1, M, side, side) of (1, M, h, w) values on a grid over the padded square."""
        side = int(self.model.config.vision_config.image_size)
        return functional.interpolate(cells.float(), (side, side), mode="bilinear", align_corners=False)

    def _enlarged(self, logits: Tensor, seen: Seen) -> Tensor:
        """(M, rows, columns) of (M, h, w) logits, at the picture's size."""
        inside = self._square(logits[None])[..., : seen.fitted[0], : seen.fitted[1]]
        return functional.interpolate(inside, seen.size, mode="bilinear", align_corners=False)[0]

    def _on_grid(self, mask: Tensor, seen: Seen) -> Tensor:
        """(h, w) share of the mask in each cell of the features."""
        side = int(self.model.config.vision_config.image_size)
        fitted = resized(mask[None, None], *seen.fitted)
        padded = functional.pad(fitted, (0, side - seen.fitted[1], 0, side - seen.fitted[0]))
        return functional.interpolate(padded, seen.features.shape[-2:], mode="bilinear", align_corners=False)[0, 0]

    def _likeness(self, seen: Seen, target: Target, logits: Tensor) -> float:
        """Similarity of the features under the mask to the target: 0 like the photo's background, 1 like the object."""
        cells = functional.interpolate(logits.sigmoid()[None, None], seen.features.shape[-2:], mode="area")[0, 0]
        weights = torch.where(cells > 0.5, cells, torch.zeros_like(cells))
        if not float(weights.sum()) > 0:
            weights = (cells == cells.max()).float()
        mean = (seen.features[0].float() * weights).sum(dim=(1, 2)) / weights.sum()
        cosine = float(functional.cosine_similarity(mean, target.embedding, dim=0))
        return min(1.0, max(0.0, (cosine - target.background) / max(1 - target.background, 1e-6)))


@torch.inference_mode(False)
def fitted_weights(logits: Tensor, mask: Tensor, settings: FitSettings) -> Tensor:
    """(3,) weights that combine three masks into the known one, fitted by dice and focal loss.

    Args:
        logits: (3, N) of the decoder.
        mask: (N,) float32, 0 or 1.
        settings: see there.
    """
    logits, mask = logits.float().clone(), mask.clone()
    free = torch.full((2,), 1 / 3, device=logits.device, requires_grad=True)
    optimiser = torch.optim.AdamW([free], lr=settings.learning_rate, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    with torch.enable_grad():
        for epoch in range(settings.epochs):
            mixed = (torch.cat([1 - free.sum()[None], free])[:, None] * logits).sum(dim=0)
            loss = dice_loss(mixed, mask) + focal_loss(mixed, mask)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if epoch % settings.log_epochs == 0:
                print(f"persam-f: epoch {epoch} of {settings.epochs}, loss {float(loss.detach()):.4f}", flush=True)
    return torch.cat([1 - free.sum()[None], free]).detach()


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Of (N,) logits and a mask."""
    likely = logits.sigmoid()
    return 1 - (2 * (likely * mask).sum() + 1) / (likely.sum() + mask.sum() + 1)


def focal_loss(logits: Tensor, mask: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Of (N,) logits and a mask, with the weights of RetinaNet."""
    likely = logits.sigmoid()
    wrong = 1 - (likely * mask + (1 - likely) * (1 - mask))
    entropy = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    return ((alpha * mask + (1 - alpha) * (1 - mask)) * entropy * wrong**gamma).mean()


def load_persam(request: LoadRequest) -> PersamLocator:
    """PerSAM with the published weights of their folder.

    Raises:
        UnsupportedOption: a threshold outside [0, 1].
    """
    model, record = load_transformer("SamModel", request)
    return PersamLocator(model, record, request.context.device, threshold_of(request))


def load_persam_f(request: LoadRequest) -> PersamLocator:
    """PerSAM-F with the published weights of their folder.

    Raises:
        UnsupportedOption: a threshold outside [0, 1], a learning rate that is not positive, or less than one epoch.
    """
    option = request.context.option
    rate = float(option("learning_rate", FitSettings.learning_rate))
    epochs, logged = int(option("epochs", FitSettings.epochs)), int(option("log_epochs", FitSettings.log_epochs))
    if rate <= 0:
        raise UnsupportedOption("persam-f.learning_rate", rate, ["above 0"])
    if epochs < 1 or logged < 1:
        raise UnsupportedOption("persam-f.epochs", min(epochs, logged), ["1 and above"])
    model, record = load_transformer("SamModel", request)
    return PersamLocator(
        model, record, request.context.device, threshold_of(request), FitSettings(rate, epochs, logged)
    )
