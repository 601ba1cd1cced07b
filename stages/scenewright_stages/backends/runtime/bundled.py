"""Base of backends whose small models ship with the installation and are never downloaded."""

from __future__ import annotations

from dataclasses import replace

from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend


class BundledModels(WeightlessBackend):
    """Base class; its record names the packages from the facts."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        sets = request.facts.bundled
        self.record = replace(
            request.record,
            weights_id="+".join(weights.id for weights in sets),
            revision="+".join(weights.revision for weights in sets),
            licence="+".join(dict.fromkeys(weights.licence for weights in sets)),
            licence_url=sets[0].licence_url,
        )
