"""Errors of backends, each with field, value and remedy.

Configuration errors affect every sample of a shard, so the stage ends with their exit code instead of failing every
sample. The last two errors fail a single sample. No third-party imports.
"""

# Class names describe the situation and do not end in Error.
# ruff: noqa: N818

from __future__ import annotations

from collections.abc import Sequence

from scenewright_stages.contract.backends import UnknownChoice, Weights, licence_need
from scenewright_stages.contract.errors import ConfigurationError, ContractError, SampleError

MODEL_CACHE = "model cache"
"""What a problem with weights is about: in a Pod the claim of the spec, on a laptop a folder that no spec names."""


class UnknownCapability(UnknownChoice):
    """No backend offers the capability."""


class UnknownBackend(UnknownChoice):
    """No backend of that name offers the capability."""


class UnsupportedOption(UnknownChoice):
    """An option of the backend (precision, compile mode, ...) or its value is unknown."""


class LicenceNotAccepted(ConfigurationError):
    """The spec must accept the licence of weights or of a method by name before they may be used."""

    def __init__(
        self, licence: str, licence_url: str, licensed_id: str, accepted: Sequence[str], kind: str = "weights"
    ) -> None:
        self.licence = licence
        self.licence_url = licence_url
        self.weights_id = licensed_id
        verb = "are" if kind == "weights" else "is"
        super().__init__(
            "models.acceptLicenses",
            sorted(accepted),
            f"the {kind} {licensed_id} {verb} under the licence {licence}; read {licence_url} and, "
            f"if it allows your use, add {licence!r} to this field",
        )


class MissingWeights(ConfigurationError):
    """The model cache or the folder named in the spec lacks some of the weights; a stage never downloads them."""

    def __init__(self, weights: Weights, cache_dir: object, lacking: Sequence[str]) -> None:
        self.weights_id = weights.id
        self.lacking = tuple(lacking)
        if weights.location:
            super().__init__("revision", weights.revision, self._copied_by_the_user(weights))
        else:
            super().__init__(MODEL_CACHE, str(cache_dir), self._fetched(weights))

    def _copied_by_the_user(self, weights: Weights) -> str:
        files = ", ".join(self.lacking[:5])
        if weights.location.startswith("s3:"):
            return (
                f"the model cache lacks {files} of it; in a cluster the models step copies it there "
                "(models.cacheClaim), elsewhere copy it to a folder and name that"
            )
        return f"lacks {files}; it has to hold the same files as the repository {weights.id}"

    def _fetched(self, weights: Weights) -> str:
        accept = f" --accept {weights.licence}" if licence_need(weights).needed else ""
        return (
            f"lacks {', '.join(self.lacking[:3]) or 'everything'} of {weights.id} (revision {weights.revision}); fetch "
            f"them (`scenewright models --fetch {weights.id}{accept}`) or copy the repository to a folder of that name"
        )


class BrokenWeights(ConfigurationError):
    """The files exist, but do not contain the expected model."""

    def __init__(self, weights_id: str, path: object, problem: str) -> None:
        self.weights_id = weights_id
        super().__init__(MODEL_CACHE, str(path), f"{problem}; delete the copy of {weights_id} and fetch it again")


class MissingPackage(ConfigurationError):
    """A Python package that the backend needs is not installed in this image."""

    def __init__(self, field: str, backend: str, package: str, extra: str) -> None:
        self.package = package
        super().__init__(
            field,
            backend,
            f"it needs the package {package}, which is not installed: `pip install 'scenewright[{extra}]'`, "
            "or use the image of that stage",
        )


class BackendContractError(ContractError):
    """A backend's result violates its interface: a failure of the sample, not of the spec."""


class UnsupportedSubject(SampleError):
    """A segmentation backend got a kind of prompt that it does not support, such as points or a text.

    Args:
        backend: its name.
        what: what is unsupported or missing, as the end of the sentence "sam3 ...".
        remedy: which prompt to give, or which backend to use.
    """

    def __init__(self, backend: str, what: str, remedy: str) -> None:
        super().__init__("SubjectUnsupported", f"the backend {backend} {what}: {remedy}")
