"""Names of the API: group, version, kinds with their plurals and short names. Imports no models."""

from __future__ import annotations

GROUP = "scenewright.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
RETRY_ANNOTATION = f"{GROUP}/retry"
PLURALS = {"SceneJob": "scenejobs", "DatasetJob": "datasetjobs", "TuningRun": "tuningruns"}
SHORT_NAMES = {"SceneJob": "scene", "DatasetJob": "dsj", "TuningRun": "tune"}
