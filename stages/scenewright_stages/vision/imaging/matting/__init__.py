"""Matting: full-size mattes of subjects, and colours free of the other layer."""

from scenewright_stages.vision.imaging.matting.colours import NoSubject, SubjectMatte, separate
from scenewright_stages.vision.imaging.matting.guided import refine_matte

__all__ = ["NoSubject", "SubjectMatte", "refine_matte", "separate"]
