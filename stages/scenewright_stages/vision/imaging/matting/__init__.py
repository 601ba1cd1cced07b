"""Matting: full-size mattes of subjects, and colours free of the other layer."""

from scenewright_stages.vision.imaging.matting.colours import NoSubject, SubjectMatte, separate
from scenewright_stages.vision.imaging.matting.colours import warm_up as _warm_up_colours
from scenewright_stages.vision.imaging.matting.guided import refine_matte
from scenewright_stages.vision.imaging.matting.guided import warm_up as _warm_up_guided

__all__ = ["NoSubject", "SubjectMatte", "refine_matte", "separate", "warm_up"]


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache."""
    _warm_up_colours()
    _warm_up_guided()
