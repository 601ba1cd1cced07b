"""Locates the object in an image with a backend, optionally refined by another, if no exact mask is used.

The annotate stage holds one :class:`ObjectLocator`. Backends get the object's own photo as exemplar; `sam3` gets its
name instead, because it takes text prompts.
"""

from __future__ import annotations

from scenewright_stages.backends.locate.interface import LOCATE, Exemplar, Locator
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.segment.interface import SEGMENT, Segmenter, Subject, subject_of
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.stage import BackendUse, ModelSettings
from scenewright_stages.reference.params import AnnotateParams
from scenewright_stages.vision.imaging.matting import SubjectMatte
from scenewright_stages.vision.types import Float32Array

SMALLER = {"": "vit-l", "vit-h": "vit-l"}
"""SAM's next smaller weights after the GPU ran out of memory."""


class ObjectLocator:
    """The backends of one annotate block.

    Args:
        block: the parameters; its backend is not ``exact``.
        models: the job's model settings.

    Raises:
        ConfigurationError: a backend is not available.
    """

    def __init__(self, block: AnnotateParams, models: ModelSettings) -> None:
        self._block, self._models = block, models
        self._locate: BackendChain[Locator] | None = None
        self._segment: BackendChain[Segmenter] | None = None
        self._refine: BackendChain[Segmenter] | None = None
        if block.backend == "sam3":
            self._segment = BackendChain(SEGMENT, ("sam3",), models, block.options(), block.variant, block.revision)
        else:
            self._locate = self._locator()
        if block.refine == "sam2":
            weights = (block.refine_variant, block.refine_revision)
            self._refine = BackendChain(SEGMENT, ("sam2",), models, {"threshold": 0.0}, *weights)

    def find(self, exemplar: Exemplar, name: str, srgb: Float32Array) -> tuple[SubjectMatte, list[BackendUse]]:
        """The object's matte, and the backends used.

        Args:
            exemplar: the object in its photo.
            name: of the object.
            srgb: (H, W, 3) float32 in [0, 1].

        Raises:
            NoSubject: the object is not in the image.
        """
        if self._segment is not None:
            text = self._block.prompt or name
            found, use = self._segment.call(lambda backend: backend.segment(srgb, Subject(text)))
        elif self._locate is not None:
            found, use = self._locate.call(lambda backend: backend.locate(exemplar, srgb))
        else:
            raise AssertionError("one of the two serves")
        if self._refine is None:
            return found, [use]
        subject = subject_of(found.mask)
        refined, refining = self._refine.call(lambda backend: backend.segment(srgb, subject))
        return SubjectMatte(refined.alpha, refined.mask, found.score, f"{found.method}+sam2"), [use, refining]

    def use_smaller(self) -> bool:
        """Switches to smaller weights; False if there are none, or the cache lacks them."""
        smaller = SMALLER.get(self._block.variant)
        if smaller is None or self._locate is None or not self._block.backend.startswith("persam"):
            return False
        self._locate.release()
        # The revision belongs to the repository of the larger weights.
        self._block = self._block.model_copy(update={"variant": smaller, "revision": ""})
        try:
            self._locate = self._locator()
        except ConfigurationError as problem:
            print(f"annotate: no smaller weights to change to: {problem}", flush=True)
            return False
        return True

    def _locator(self) -> BackendChain[Locator]:
        block = self._block
        return BackendChain(LOCATE, (block.backend,), self._models, block.options(), block.variant, block.revision)
