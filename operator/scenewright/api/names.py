"""Names of the API: group, version, kinds with their plurals and short names. Imports no models."""

from __future__ import annotations

GROUP = "scenewright.io"
VERSION = "v1alpha1"
NEXT_VERSION = "v1beta1"
"""Served beside `VERSION` with the same schema; objects are stored and read by the operator as `VERSION`."""
API_VERSION = f"{GROUP}/{VERSION}"
RETRY_ANNOTATION = f"{GROUP}/retry"
SWEEP = f"{GROUP}/sweep"
"""Label of a sweep's children with its name, and annotation with the hash of the spec that it gave them."""
MANAGER = f"{GROUP}/operator"
PLURALS = {"SceneJob": "scenejobs", "DatasetJob": "datasetjobs", "TuningRun": "tuningruns"}
SHORT_NAMES = {"SceneJob": "scene", "DatasetJob": "dsj", "TuningRun": "tune"}
