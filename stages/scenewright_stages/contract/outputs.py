"""Output contracts: what a stage promises about each file it writes, declared as data and checked by the worker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.samples import Sample, is_path_part, is_sample_id

Media = Literal["image", "arrays", "video", "ply", "json", "text", "rrd", "html", "safetensors", "pickle", "bytes"]
Form = Literal["file", "numbered", "folder"]
SAMPLE = "sample"
NUMBER = "number"
_FIELD = re.compile(r"\{([a-z_]+)(:0[1-9]d)?\}")
_LEFT_OUT = "\0/"
"""Stands for a folder that a sample does not have."""


@dataclass(frozen=True)
class ImageContract:
    """Contract of an image: 1, 3 or 4 channels, minimum side in pixels, and whether a flat colour is an error."""

    channels: int = 3
    minimum_side: int = 16
    may_be_constant: bool = False


@dataclass(frozen=True)
class ArrayContract:
    """Contract of one array in an ``.npz`` or ``.safetensors`` file.

    Attributes:
        name: key in the file.
        dtype: numpy name, such as ``float32``.
        dimensions: number of axes.
        finite: minimum share of finite entries (1.0: all of them).
        minimum, maximum: inclusive range of the finite entries.
        may_be_constant: whether all entries may be equal.
        may_be_empty: whether the array may have no entries.
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
    """One output of a stage per sample: a file, numbered files, or a folder of files that the stage names.

    Attributes:
        name: what other stages call it.
        path: template below the output prefix. ``{sample}`` is the sample's id, any other name in braces an attribute
            of the sample (``{split}/{object}.png``). An attribute that forms a whole folder (``{home}/``) may have
            several levels (``objects/cup``) or be empty, which drops the folder. Numbered files have ``{number}`` or
            ``{number:03d}`` in their name; the path of a folder ends in ``/``.
        media: how each file is checked.
        form: one file, files numbered from 0, or a folder.
        result: True if publish lists it among the results; False for intermediate files, which live below
            ``.scenewright/work/``.
        offered: whether an intermediate output is visible to jobs that use this publication as a named input.
        optional: whether a sample may lack it.
        minimum_bytes: a smaller file fails the contract; 0 allows an empty text.
        minimum_files, maximum_files: bounds on the number of files of the forms ``numbered`` and ``folder``.
        image, arrays, json_keys: contract of the content, by media. A ``pickle`` may hold only tensors and plain
            values, and must have `json_keys` at its top level.
    """

    name: str
    path: str
    media: Media
    form: Form = "file"
    result: bool = True
    offered: bool = False
    optional: bool = False
    minimum_bytes: int = 1
    minimum_files: int = 1
    maximum_files: int = 10_000
    image: ImageContract | None = None
    arrays: tuple[ArrayContract, ...] = ()
    json_keys: tuple[str, ...] = ()

    @property
    def reproducible(self) -> bool:
        """Whether the same work gives the same bytes; false for Rerun recordings."""
        return self.media != "rrd"

    def attributes(self) -> tuple[str, ...]:
        """Names of the sample's attributes that the path contains."""
        return tuple(name for name, _ in _FIELD.findall(self.path) if name not in (SAMPLE, NUMBER))

    def path_for(self, sample: Sample) -> str:
        """Path of this output for one sample, below the output prefix; numbered files keep their ``{number}``.

        Raises:
            ConfigurationError: an attribute is missing or cannot be part of a path.
        """
        return self.resolved(sample.id, sample.attributes)

    def resolved(self, sample_id: str, attributes: Mapping[str, Any]) -> str:
        """Like :meth:`path_for`, from a sample's id and attributes alone."""

        def fill(match: re.Match[str]) -> str:
            name = match.group(1)
            if name == NUMBER:
                return match.group(0)
            if name == SAMPLE:
                return sample_id
            folder = attributes.get(name) if self._is_folder(match) else None
            if isinstance(folder, str) and (not folder or is_sample_id(folder)):
                return folder or _LEFT_OUT[0]
            return _path_part(self.name, name, attributes)

        return _FIELD.sub(fill, self.path).replace(_LEFT_OUT, "")

    def _is_folder(self, match: re.Match[str]) -> bool:
        """Whether a field of the template makes up a whole folder name."""
        before, after = self.path[: match.start()], self.path[match.end() :]
        return before[-1:] in ("", "/") and after[:1] == "/"


def numbered_path(path: str, number: int) -> str:
    """The path of one of the numbered files."""
    return _FIELD.sub(lambda match: f"{number:{(match.group(2) or ':d')[1:]}}", path)


def _path_part(output: str, name: str, attributes: Mapping[str, Any]) -> str:
    value = attributes.get(name)
    if not isinstance(value, str | int) or isinstance(value, bool) or not is_path_part(str(value)):
        raise ConfigurationError(
            f"{output}.{name}", value, "the output's path needs this attribute as a path-safe name"
        )
    return str(value)
