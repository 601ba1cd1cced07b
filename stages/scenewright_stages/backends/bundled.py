"""Backends whose small models are part of the installation, so that nothing is downloaded for them."""

from __future__ import annotations

from dataclasses import replace

from scenewright_stages.backends.loading import LoadRequest, WeightlessBackend


class BundledModels(WeightlessBackend):
    """Base of such backends: the record names the packages, as the facts state them."""

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
