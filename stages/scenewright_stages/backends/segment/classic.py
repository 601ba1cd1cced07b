"""Segmentation without weights: people by face, shape and colour, and masks that are given."""

from __future__ import annotations

import numpy as np

from scenewright_stages.backends.capability import FloatImage
from scenewright_stages.backends.errors import BackendContractError
from scenewright_stages.backends.loading import WeightlessBackend
from scenewright_stages.backends.segment.interface import Subject, SubjectKind, check_subject
from scenewright_stages.vision.matting import SubjectMatte
from scenewright_stages.vision.people import find_person


class ClassicSegmenter(WeightlessBackend):
    """Finds the person with the clearest face, or the one in a box; it knows no other subjects."""

    reads: frozenset[SubjectKind] = frozenset({"box"})

    def segment(self, srgb: FloatImage, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``."""
        check_subject(self, srgb, subject)
        return find_person(srgb, subject.box, seed)


class SuppliedMask(WeightlessBackend):
    """The mask that is given; nothing is found in the picture itself."""

    reads: frozenset[SubjectKind] = frozenset({"mask"})

    def segment(self, srgb: FloatImage, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``; the given mask with a hard outline.

        Raises:
            BackendContractError: no mask is given.
        """
        check_subject(self, srgb, subject)
        if subject.mask is None:
            raise BackendContractError("the mask backend takes the mask from a file beside the image")
        return SubjectMatte(subject.mask.astype(np.float32), subject.mask, 1.0, "supplied")
