"""Surface normals without a model: an inflated silhouette, or the gradient of a depth map."""

from scenewright_stages.vision.normals.estimation import inflated_height, inflated_normals, normals_from_depth, warm_up

__all__ = ["inflated_height", "inflated_normals", "normals_from_depth", "warm_up"]
