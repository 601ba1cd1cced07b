"""Surface normals without a model: an inflated silhouette."""

from scenewright_stages.vision.geometry.normals.estimation import inflated_height, inflated_normals

__all__ = ["inflated_height", "inflated_normals"]
