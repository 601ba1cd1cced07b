"""Albedo of a photograph: its colours without lighting."""

from scenewright_stages.vision.imaging.albedo.estimation import AlbedoOptions, estimate_albedo
from scenewright_stages.vision.imaging.albedo.retinex import multi_scale_retinex, retinex_blurs

__all__ = ["AlbedoOptions", "estimate_albedo", "multi_scale_retinex", "retinex_blurs"]
