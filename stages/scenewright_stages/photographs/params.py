"""Parameter blocks and value ranges that the pipelines over photographs share.

The operator imports this module with the pipelines' own parameters, so it needs only pydantic.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from scenewright_stages.contract.formats import PICTURE_ENDINGS
from scenewright_stages.contract.params import Params, Rule

Share = Annotated[float, Field(ge=0.0, le=1.0)]
ShareRange = Annotated[list[Share], Field(min_length=2, max_length=2)]
AngleRange = Annotated[list[Annotated[float, Field(ge=-360.0, le=360.0)]], Field(min_length=2, max_length=2)]
PositiveRange = Annotated[list[Annotated[float, Field(gt=0.0, le=100000.0)]], Field(min_length=2, max_length=2)]

Format = Literal["webdataset", "parquet"]
Formats = Annotated[
    list[Format],
    Field(
        max_length=2,
        description="Writes the data set once more: webdataset (tar shards) or parquet (shards with the images in "
        "them), each with the same splits, for training on tens of thousands of images.",
    ),
]


PICTURE_SUFFIXES = (*PICTURE_ENDINGS, ".gif")
MASK_ENDINGS = tuple(
    f"{mark}{word}{suffix}" for word in ("mask", "alpha", "matte") for suffix in PICTURE_SUFFIXES for mark in "._-"
)
"""How the mask of a photo is named, after the photo's stem and in any case; the first that is there is read."""
MASK_FOLDERS = (
    "masks", "mask", "alpha", "alphas", "matte", "mattes", "segmentationobject", "segmentationclass", "segmentation",
    "segmentations", "groundtruth", "ground_truth", "gt",
)  # fmt: skip
"""Folders that hold nothing but masks, named as their photos."""
MaskPolarity = Annotated[
    Literal["auto", "white", "black"],
    Field(
        description="What is the object in a supplied mask: white, black, or auto (white, unless what is white "
        "surrounds the rest; a mask of which this cannot be told is refused)."
    ),
]
MaskClass = Annotated[
    int | None,
    Field(
        ge=0,
        le=65535,
        description="Number of the object in supplied masks of class numbers; none: the only class there is.",
    ),
]


class MaskEntry(Params):
    """What a line of a list may say about its mask."""

    mask_polarity: MaskPolarity = "auto"
    mask_class: MaskClass = None


def chain_or_backend(other: str, default: str = "classic") -> Rule:
    """The rule that a block names either one backend or a chain; `other` is a backend that is not the default."""
    return Rule(
        "backends",
        f"size(self.backends) == 0 || self.backend == '{default}'",
        "contradicts backend: give either",
        lambda block: not block.backends or block.backend == default,
        ({"backends": ["classic"], "backend": other},),
    )


class ModelParams(Params):
    """How a model backend runs; backends without weights ignore it."""

    variant: str = Field(default="", max_length=64, description="Which weights of a model backend; empty: its default.")
    precision: Literal["", "fp32", "fp16", "bf16"] = Field(
        default="", description="Arithmetic of a model backend; empty: its default on the device."
    )
    batch: int = Field(
        default=0, ge=0, le=256, description="Images that a model backend works on together; 0: its default."
    )

    def options(self) -> dict[str, Any]:
        """The settings as backend options; None means the backend's default."""
        return {"precision": self.precision or None, "batch": self.batch or None}
