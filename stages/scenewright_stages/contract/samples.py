"""Samples, the units of work, retry and record, and the families that they form when stages expand them.

An indexed sample has level 0. A stage that expands makes children of each sample, one level deeper; a stage that
gathers works one level higher again. The whole job is a single sample at level -1. Children are a pure function of the
parameters and their parent, so every process can derive the whole family from an indexed sample.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError, SampleError

SOURCE = "source"
"""Role of the one file of most samples."""
ID_FIELD = "sample"
"""Field of errors about an id."""
WHOLE_LEVEL = -1
WHOLE_ID = "whole"
"""Id of the sample that stands for the whole job."""
SAMPLE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,126}(/[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,126}){0,3}")
MAXIMUM_SAMPLE_ID_LENGTH = 200


def sample_id_from(stem: str) -> str:
    """The sample id for a file stem or key: unsafe characters become ``_``, leading dots are removed.

    Raises:
        SampleError: nothing usable is left (reason ``BadSampleId``).
    """
    cleaned = re.sub(r"[^A-Za-z0-9_.@+/-]", "_", stem)
    parts = [part.lstrip(".-") for part in cleaned.split("/")]
    candidate = "/".join(part for part in parts if part)[:MAXIMUM_SAMPLE_ID_LENGTH].rstrip("/")
    if not is_sample_id(candidate):
        raise SampleError("BadSampleId", f"{stem!r} gives no usable sample id; rename the file")
    return candidate


def is_sample_id(text: str) -> bool:
    """Whether the text is safe as a path component (or a few of them) below a prefix."""
    return len(text) <= MAXIMUM_SAMPLE_ID_LENGTH and SAMPLE_ID.fullmatch(text) is not None


def is_path_part(text: str) -> bool:
    """Whether the text is safe as one path component."""
    return "/" not in text and is_sample_id(text)


@dataclass(frozen=True)
class SourceFile:
    """One object of the input, or a folder of objects.

    Attributes:
        uri: of the object; a folder's ends in ``/``.
        size: total in bytes.
        fingerprint: ETag or content hash; for a folder, the hash of its objects' names and fingerprints.
        count: number of objects in a folder; 0 for a single object.
    """

    uri: str
    size: int
    fingerprint: str
    count: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder."""
        return self.uri.endswith("/")

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; with `count` for folders only."""
        return {name: value for name, value in vars(self).items() if name != "count" or value}


@dataclass(frozen=True)
class Child:
    """A child that a stage makes by expanding a sample.

    Attributes:
        ending: appended to the parent's id; a leading ``/`` starts a subfolder.
        attributes: added to the parent's.
    """

    ending: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A unit of work.

    Attributes:
        id: unique in the run; path-safe.
        files: input files by role: ``source`` for samples of one file, else the names that the lister gives. Children
            share the files of the indexed sample.
        attributes: small facts that stages may read (variant, prompt, view), including those of its ancestors.
        parent: the sample that it was expanded from.
        overrides: parameters that its entry sets, as in a manifest.
        provided: stage outputs that come with the input, by stage and output.
        rejected: reason and message when the index step refused the sample.
        notes: what the user should know of its input; part of no key.
    """

    id: str
    files: Mapping[str, SourceFile] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parent: Sample | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    provided: Mapping[str, Mapping[str, SourceFile]] = field(default_factory=dict)
    rejected: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> SourceFile | None:
        """Its single file; None for samples with several files, or with a text only."""
        return self.files.get(SOURCE)

    def lineage(self) -> tuple[Sample, ...]:
        """The samples from the indexed one down to this one."""
        return (*self.parent.lineage(), self) if self.parent is not None else (self,)

    @property
    def root(self) -> Sample:
        """The indexed sample that it was expanded from."""
        return self.lineage()[0]

    def at_level(self, level: int) -> Sample:
        """The sample of its lineage that is `level` expansions below the indexed one."""
        return self.lineage()[level]

    def with_only(self, attributes: Collection[str]) -> Sample:
        """The sample and its ancestors with only these attributes."""
        return replace(
            self,
            attributes={name: value for name, value in self.attributes.items() if name in attributes},
            parent=None if self.parent is None else self.parent.with_only(attributes),
        )

    def children(self, of: Sequence[Child]) -> tuple[Sample, ...]:
        """Its children as samples.

        Raises:
            ConfigurationError: two children have the same id, or an id becomes unusable.
        """
        made = tuple(
            replace(
                self, id=f"{self.id}{child.ending}", parent=self, attributes={**self.attributes, **child.attributes}
            )
            for child in of
        )
        for child in made:
            if not is_sample_id(child.id):
                raise ConfigurationError(ID_FIELD, child.id, "is too long once expanded; shorten the file name")
        if len({child.id for child in made}) < len(made):
            raise ConfigurationError(ID_FIELD, self.id, "two of its children have the same id")
        return made

    def to_json(self) -> dict[str, Any]:
        """The sample as a JSON object of the index and of worklists."""
        root = self.root
        out: dict[str, Any] = {"id": self.id}
        if root.source is not None:
            out["source"] = root.source.to_json()
        if others := {role: file.to_json() for role, file in sorted(root.files.items()) if role != SOURCE}:
            out["sidecars"] = others
        if self.parent is not None:
            out["ancestors"] = [one.id for one in self.parent.lineage()]
        if root.attributes:
            out["attributes"] = dict(root.attributes)
        if added := [_added(one) for one in self.lineage()[1:]]:
            out["expanded"] = added
        if root.overrides:
            out["parameters"] = dict(root.overrides)
        if root.provided:
            out["provided"] = {
                stage: {name: file.to_json() for name, file in sorted(files.items())}
                for stage, files in sorted(root.provided.items())
            }
        if self.rejected is not None:
            out["rejected"] = list(self.rejected)
        if root.notes:
            out["notes"] = list(root.notes)
        return out if any(out.get("expanded", ())) else {name: out[name] for name in out if name != "expanded"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sample:
        """The inverse of :meth:`to_json`; refuses ids that could leave their prefix.

        Raises:
            SampleError: an id is not path-safe (reason ``BadSampleId``).
        """
        ids = [*data.get("ancestors", ()), data["id"]]
        for each in ids:
            if not is_sample_id(each):
                raise SampleError("BadSampleId", f"{each!r} is not a path-safe sample id")
        files = {role: SourceFile(**file) for role, file in data.get("sidecars", {}).items()}
        if data.get("source"):
            files[SOURCE] = SourceFile(**data["source"])
        rejected = data.get("rejected")
        sample = cls(
            id=ids[0],
            files=files,
            attributes=data.get("attributes", {}),
            overrides=data.get("parameters", {}),
            provided={
                stage: {name: SourceFile(**file) for name, file in outputs.items()}
                for stage, outputs in data.get("provided", {}).items()
            },
            rejected=(rejected[0], rejected[1]) if rejected else None,
            notes=tuple(data.get("notes", ())),
        )
        added = data.get("expanded") or [{}] * (len(ids) - 1)
        for name, attributes in zip(ids[1:], added, strict=True):
            sample = replace(sample, id=name, parent=sample, attributes={**sample.attributes, **attributes})
        return sample


def _added(sample: Sample) -> dict[str, Any]:
    """The attributes that a child has beyond its parent's."""
    before = sample.parent.attributes if sample.parent is not None else {}
    missing = object()
    return {name: value for name, value in sample.attributes.items() if before.get(name, missing) != value}


Expansion = Callable[[Sample], Sequence[Child]]
"""The children of a sample; a pure function of the sample and of the parameters that it was made with."""


@dataclass(frozen=True)
class Family:
    """All samples expanded from one indexed sample.

    Attributes:
        levels: samples by level: the indexed one, its children, their children and so on.
    """

    levels: tuple[tuple[Sample, ...], ...]

    @classmethod
    def of(cls, root: Sample, expansions: Sequence[Expansion]) -> Family:
        """The family of an indexed sample under the expansions of a chain, in order."""
        levels: list[tuple[Sample, ...]] = [(root,)]
        for expand in expansions:
            levels.append(tuple(child for parent in levels[-1] for child in parent.children(expand(parent))))
        return cls(tuple(levels))

    @property
    def leaves(self) -> tuple[Sample, ...]:
        """The samples of the deepest level; the indexed sample itself if nothing expands."""
        return self.levels[-1]
