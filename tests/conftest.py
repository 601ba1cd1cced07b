"""Loaded before any test module, hence before torch: see the package's own comment on waiting threads."""

import scenewright_stages  # noqa: F401 - sets the OpenMP wait policy
