"""Soft outlines: subjects' mattes at full size and colours freed of what shone through them."""

from scenewright_stages.vision.matting.colours import NoSubject, SubjectMatte, separate
from scenewright_stages.vision.matting.colours import warm_up as _warm_up_colours
from scenewright_stages.vision.matting.guided import refine_matte
from scenewright_stages.vision.matting.guided import warm_up as _warm_up_guided

__all__ = ["NoSubject", "SubjectMatte", "refine_matte", "separate", "warm_up"]


def warm_up() -> None:
    """Compile the kernels, or find them compiled."""
    _warm_up_colours()
    _warm_up_guided()
