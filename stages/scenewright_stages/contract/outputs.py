"""Output contracts: what a stage promises of each file, declared as data and checked by the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Media = Literal["image", "arrays", "video", "ply", "json", "text", "rrd", "html"]


@dataclass(frozen=True)
class ImageContract:
    """Of an image file: channels 1, 3 or 4, its smallest side in pixels, and whether one flat colour is a fault."""

    channels: int = 3
    minimum_side: int = 16
    may_be_constant: bool = False


@dataclass(frozen=True)
class ArrayContract:
    """Of one array in an ``.npz`` file.

    Attributes:
        name: key in the file.
        dtype: numpy name, such as ``float32``.
        dimensions: number of axes.
        finite: the share of finite entries must be at least this (1.0: all of them).
        minimum, maximum: inclusive range of the finite entries.
        may_be_constant: whether equal entries everywhere are acceptable.
        may_be_empty: whether no entry at all is acceptable.
    """

    name: str
    dtype: str
    dimensions: int
    finite: float = 1.0
    minimum: float | None = None
    maximum: float | None = None
    may_be_constant: bool = False
    may_be_empty: bool = False


@dataclass(frozen=True)
class OutputContract:
    """One file that a stage writes for each sample.

    Attributes:
        name: what other stages call it.
        path: below the output prefix, with ``{sample}`` where the sample's id goes.
        media: how it is checked.
        result: True when publish lists it among the results; False for intermediate files, which live below
            ``.scenewright/work/``.
        optional: whether a sample may come without it.
        minimum_bytes: smaller files fail the contract.
        image, arrays, json_keys: what holds for the content, by media.
    """

    name: str
    path: str
    media: Media
    result: bool = True
    optional: bool = False
    minimum_bytes: int = 1
    image: ImageContract | None = None
    arrays: tuple[ArrayContract, ...] = ()
    json_keys: tuple[str, ...] = ()

    def path_for(self, sample_id: str) -> str:
        """Path of this output below the output prefix for one sample."""
        return self.path.replace("{sample}", sample_id)
