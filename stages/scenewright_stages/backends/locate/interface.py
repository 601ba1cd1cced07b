"""What a stage may ask of a backend that finds the object of one photo in other pictures, and the classic backend.

Unlike ``segment``, which is told where in the picture the subject is, ``locate`` is shown what it looks like. A backend
says when the object is not there: a mask of something else would become a wrong label. Images are float32 sRGB in
[0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from scenewright_stages.backends.capability import Backend, Capability, FloatImage, Mask
from scenewright_stages.backends.errors import UnsupportedOption
from scenewright_stages.backends.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.matching.finding import ObjectFinder
from scenewright_stages.vision.matting import NoSubject, SubjectMatte

LIKELY = 0.5


@dataclass(frozen=True, eq=False)
class Exemplar:
    """The object to look for, in a photo of it.

    Attributes:
        name: tells exemplars apart; what a backend computes of one is kept under it.
        srgb: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32, the object's matte.
    """

    name: str
    srgb: FloatImage
    alpha: FloatImage

    @property
    def mask(self) -> Mask:
        """(H, W) bool."""
        return self.alpha >= 0.5


@runtime_checkable
class Locator(Backend, Protocol):
    """Finds one object."""

    def locate(self, exemplar: Exemplar, srgb: FloatImage) -> SubjectMatte:
        """The object's matte at full size.

        Args:
            exemplar: what to look for.
            srgb: (H, W, 3) float32 in [0, 1].

        Raises:
            NoSubject: it is not in the picture, or the backend is not sure enough; says how sure it is.
            BackendContractError: the answer is unusable.
        """


LOCATE = Capability("locate", Locator)


class MatchLocator(WeightlessBackend):
    """Stencils, local features and a graph cut; the score is calibrated on scenes with other things."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._threshold = threshold_of(request)
        self._finders: dict[str, ObjectFinder] = {}
        self._lock = threading.Lock()

    def locate(self, exemplar: Exemplar, srgb: FloatImage) -> SubjectMatte:
        """See ``Locator.locate``."""
        with self._lock:
            if exemplar.name not in self._finders:
                self._finders[exemplar.name] = ObjectFinder(exemplar.srgb, exemplar.alpha)
            finder = self._finders[exemplar.name]
        found = finder.find(srgb)
        check_score(found.score, self._threshold)
        return SubjectMatte(found.alpha, found.alpha >= 0.5, round(found.score, 4), "match")


def threshold_of(request: LoadRequest) -> float:
    """The option ``threshold``: the score from which the object counts as found.

    Raises:
        UnsupportedOption: it lies outside [0, 1].
    """
    threshold = float(request.context.option("threshold", LIKELY))
    if not 0 <= threshold <= 1:
        raise UnsupportedOption(f"{request.facts.name}.threshold", threshold, ["0 to 1"])
    return threshold


def check_score(score: float, threshold: float) -> None:
    """Refuse what is not sure enough. Raises NoSubject."""
    if not score >= threshold:
        raise NoSubject(
            f"the object is not there, or hardly to be recognised (score {score:.2f}, needed {threshold:g})"
        )
