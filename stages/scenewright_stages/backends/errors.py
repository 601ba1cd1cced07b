"""Why a backend cannot serve: errors with field, value and remedy.

Configuration errors hold for every sample of a shard, so a stage that meets one ends with the exit code for a
configuration error instead of failing sample after sample. The last two fail a single sample. No third-party imports.
"""

# The classes are named after what they state, not after being errors.
# ruff: noqa: N818

from __future__ import annotations

from collections.abc import Sequence

from scenewright_stages.contract.backends import UnknownChoice
from scenewright_stages.contract.errors import ConfigurationError, ContractError, SampleError

MODEL_CACHE = "model cache"
"""What a problem with weights is about: in a Pod the claim of the spec, on a laptop a folder that no spec names."""


class UnknownCapability(UnknownChoice):
    """No backend offers the capability."""


class UnknownBackend(UnknownChoice):
    """No backend of that name offers the capability."""


class UnsupportedOption(UnknownChoice):
    """An option of the backend (precision, compile mode, ...) or its value is not known."""


class LicenceNotAccepted(ConfigurationError):
    """The weights' licence must be accepted by name in the spec before they run."""

    def __init__(self, licence: str, licence_url: str, weights_id: str, accepted: Sequence[str]) -> None:
        self.licence = licence
        self.licence_url = licence_url
        self.weights_id = weights_id
        super().__init__(
            "models.acceptLicenses",
            sorted(accepted),
            f"the weights {weights_id} are under the licence {licence}; read {licence_url} and, "
            f"if it allows your use, add {licence!r} to this field",
        )


class MissingWeights(ConfigurationError):
    """The model cache lacks some of the weights, or the folder that the spec names; a stage never downloads them."""

    def __init__(
        self, weights_id: str, revision: str, cache_dir: object, lacking: Sequence[str], location: str = ""
    ) -> None:
        self.weights_id = weights_id
        self.lacking = tuple(lacking)
        if location:
            files = ", ".join(self.lacking[:5])
            remedy = f"lacks {files}; it has to hold the same files as the repository {weights_id}"
            if location.startswith("s3:"):
                remedy = (
                    f"the model cache lacks {files} of it; in a cluster the models step copies it there "
                    "(models.cacheClaim), elsewhere copy it to a folder and name that"
                )
            super().__init__("revision", revision, remedy)
            return
        super().__init__(
            MODEL_CACHE,
            str(cache_dir),
            f"lacks {', '.join(self.lacking[:3]) or 'everything'} of {weights_id} (revision {revision}); fetch the "
            f"weights (`scenewright models --fetch {weights_id}`) or copy the repository into its folder {weights_id}",
        )


class BrokenWeights(ConfigurationError):
    """The files are there, but they do not hold the expected model."""

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
    """A backend's answer breaks its interface: a failure of the sample, not of the spec."""


class UnsupportedSubject(SampleError):
    """A segmentation backend was asked by something that it does not read, such as points or a text.

    Args:
        backend: its name.
        what: what it does not read, or what it lacks, as the end of the sentence "sam3 ...".
        remedy: what to give, or which backend to use.
    """

    def __init__(self, backend: str, what: str, remedy: str) -> None:
        super().__init__("SubjectUnsupported", f"the backend {backend} {what}: {remedy}")
