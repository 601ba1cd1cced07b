"""Interface of backends that find the object of one photo in other images, and the classic backend.

``segment`` gets the subject's position or name; ``locate`` gets an example of its appearance. A backend must report a
missing object, because a mask of something else would become a wrong label. Images are float32 sRGB in [0, 1], shape
(H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte
from scenewright_stages.vision.subjects.matching.finding import ObjectFinder
from scenewright_stages.vision.types import Float32Array, Mask

LIKELY = 0.5


@dataclass(frozen=True, eq=False)
class Exemplar:
    """The object to look for, in a photo of it.

    Attributes:
        name: unique name, under which backends cache results.
        srgb: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32, the object's matte.
    """

    name: str
    srgb: Float32Array
    alpha: Float32Array

    @property
    def mask(self) -> Mask:
        """(H, W) bool."""
        return self.alpha >= 0.5


@runtime_checkable
class Locator(Backend, Protocol):
    """Finds one object."""

    def locate(self, exemplar: Exemplar, srgb: Float32Array) -> SubjectMatte:
        """The object's matte at full size.

        Args:
            exemplar: what to look for.
            srgb: (H, W, 3) float32 in [0, 1].

        Raises:
            NoSubject: the object is not in the image, or the score is too low; includes the score.
            BackendContractError: the result is unusable.
        """


LOCATE = Capability("locate", Locator)


class MatchLocator(WeightlessBackend):
    """Templates, local features and a graph cut; the score is calibrated on scenes with distractors."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._threshold = threshold_of(request)
        self._finders: dict[str, ObjectFinder] = {}
        self._lock = threading.Lock()

    def locate(self, exemplar: Exemplar, srgb: Float32Array) -> SubjectMatte:
        """See ``Locator.locate``."""
        with self._lock:
            if exemplar.name not in self._finders:
                self._finders[exemplar.name] = ObjectFinder(exemplar.srgb, exemplar.alpha)
            finder = self._finders[exemplar.name]
        found = finder.find(srgb)
        check_score(found.score, self._threshold)
        return SubjectMatte(found.alpha, found.alpha >= 0.5, round(found.score, 4), "match")


def threshold_of(request: LoadRequest) -> float:
    """The option ``threshold``: the minimum score at which the object counts as found.

    Raises:
        UnsupportedOption: it lies outside [0, 1].
    """
    threshold = float(request.context.option("threshold", LIKELY))
    if not 0 <= threshold <= 1:
        raise UnsupportedOption(f"{request.facts.name}.threshold", threshold, ["0 to 1"])
    return threshold


def check_score(score: float, threshold: float) -> None:
    """Raises NoSubject if the score is below the threshold."""
    if not score >= threshold:
        raise NoSubject(
            f"the object is not there, or hardly to be recognised (score {score:.2f}, needed {threshold:g})"
        )
