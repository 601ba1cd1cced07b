"""Soft outlines: mattes at full size and colours freed of what shone through them."""

from scenewright_stages.vision.matting.colours import decontaminate, separate
from scenewright_stages.vision.matting.guided import refine_matte, warm_up

__all__ = ["decontaminate", "refine_matte", "separate", "warm_up"]
