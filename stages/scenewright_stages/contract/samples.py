"""Samples: the units that stages work on, named so that an id can never leave its prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from scenewright_stages.contract.errors import SampleError

SAMPLE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,126}(/[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,126}){0,3}")
MAXIMUM_SAMPLE_ID_LENGTH = 200


def sample_id_from(stem: str) -> str:
    """The sample id for a file stem or key: unsafe characters become ``_``, never a leading dot.

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


@dataclass(frozen=True)
class SourceFile:
    """One object of the input: its URI, size in bytes and fingerprint (ETag or content hash)."""

    uri: str
    size: int
    fingerprint: str


@dataclass(frozen=True)
class Sample:
    """A unit of work.

    Attributes:
        id: unique in the run; path-safe.
        source: the input object, None for samples that a stage expanded.
        sidecars: further input objects of this sample by role, such as ``depth`` or ``camera``.
        ancestors: ids of the samples that this one was expanded from, the indexed one first.
        attributes: small facts that stages may read (variant, index, prompt).
        rejected: reason and message when the index stage refused the sample.
    """

    id: str
    source: SourceFile | None = None
    sidecars: dict[str, SourceFile] = field(default_factory=dict)
    ancestors: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    rejected: tuple[str, str] | None = None

    def id_at(self, level: int) -> str:
        """Id of this sample or of the one that it was expanded from, `level` expansions below the indexed one."""
        return (*self.ancestors, self.id)[level]

    def fingerprint(self) -> str:
        """What the sample's inputs are, sidecars included: a record is stale when this differs."""
        files = [self.source, *(self.sidecars[role] for role in sorted(self.sidecars))]
        return "+".join(file.fingerprint for file in files if file is not None)

    def to_json(self) -> dict[str, Any]:
        """The sample as a JSON object of the index and of worklists."""
        out: dict[str, Any] = {"id": self.id}
        if self.source is not None:
            out["source"] = vars(self.source)
        if self.sidecars:
            out["sidecars"] = {role: vars(file) for role, file in sorted(self.sidecars.items())}
        if self.ancestors:
            out["ancestors"] = list(self.ancestors)
        if self.attributes:
            out["attributes"] = self.attributes
        if self.rejected is not None:
            out["rejected"] = list(self.rejected)
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sample:
        """The inverse of :meth:`to_json`; refuses ids that could leave their prefix.

        Raises:
            SampleError: the id is not path-safe (reason ``BadSampleId``).
        """
        if not is_sample_id(data["id"]):
            raise SampleError("BadSampleId", f"{data['id']!r} is not a path-safe sample id")
        source = data.get("source")
        rejected = data.get("rejected")
        return cls(
            id=data["id"],
            source=SourceFile(**source) if source else None,
            sidecars={role: SourceFile(**file) for role, file in data.get("sidecars", {}).items()},
            ancestors=tuple(data.get("ancestors", ())),
            attributes=data.get("attributes", {}),
            rejected=(rejected[0], rejected[1]) if rejected else None,
        )
