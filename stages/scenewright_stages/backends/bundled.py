"""Backends whose small models are part of the installation, so that nothing is downloaded for them."""

from __future__ import annotations

from dataclasses import replace

from scenewright_stages.backends.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.people import models


class BundledModels(WeightlessBackend):
    """Base of the backends whose small models are part of the installation: the record names their packages.

    Attributes:
        packages: of ``vision.people.models.VERSIONS``.
    """

    packages: tuple[str, ...] = ()

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        weights = " + ".join(f"{name} {models.VERSIONS[name]}" for name in self.packages)
        self.record = replace(
            request.record, weights_id=weights, licence=models.LICENCE, licence_url=models.LICENCE_URL
        )
