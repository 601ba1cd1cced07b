"""Matting: full-size mattes of subjects, and colours free of the other layer."""

from scenewright_stages.vision.imaging.matting.colours import NoSubject, Sides, SubjectMatte, separate
from scenewright_stages.vision.imaging.matting.guided import refine_matte

__all__ = ["NoSubject", "Sides", "SubjectMatte", "refine_matte", "separate"]
