"""Declares what counts as a sample of a pipeline's input: by file suffix, by list entry, or by a custom lister.

A lister is a light, pure function from a view of the input to :class:`Listed` samples. The index step then fingerprints
the files that they name and rejects samples whose files are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from scenewright_stages.contract.params import Params

MAXIMUM_READ_BYTES = 64 << 20
"""A lister reads indexes and camera files, never the data itself."""


@dataclass(frozen=True)
class Listed:
    """A sample as a lister found it.

    Attributes:
        id: path-safe and unique; empty if no id could be derived.
        files: key below the input, or absolute URI, by role; most samples have one file, ``source``. A trailing ``/``
            marks a folder.
        attributes: facts that stages may read.
        overrides: parameters that the entry sets, as in a manifest; the pipeline lists which are allowed.
        provided: stage outputs that come with the input, as keys or URIs by stage and output.
        rejected: reason and message if it cannot be a sample.
        notes: what the user should know of the sample's input, such as what was found and not used.
        accounted: keys that the sample uses or that its notes name, besides `files`; None if the lister does not
            account for what it meets.
    """

    id: str
    files: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    provided: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rejected: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    accounted: frozenset[str] | None = None


class InputView(Protocol):
    """The input as a lister sees it: names, sizes, and the content of small files."""

    @property
    def uri(self) -> str:
        """URI of the folder or prefix; for a single object, of the folder that contains it."""

    @property
    def single(self) -> str:
        """Key of the object that the manifest names; empty for a folder or prefix."""

    @property
    def keys(self) -> Sequence[str]:
        """Keys of all objects, sorted; for a single object, the keys that begin with its stem."""

    def size(self, key: str) -> int:
        """Size of an object in bytes; KeyError if it does not exist."""

    def read(self, key: str) -> bytes:
        """Content of an object of at most 64 MiB; ConfigurationError for a larger one."""


@dataclass(frozen=True)
class InputKind:
    """What the index step lists as samples.

    Attributes:
        suffixes: file suffixes (lower case) that count as a sample.
        sidecars: role -> suffixes appended to the sample's stem, such as ``{"depth": (".depth.npy",)}``; in any case.
        folders: role -> names of folders that hold the sidecars of a role, named like their samples.
        listings: whether the input may be a ``.jsonl`` or ``.csv`` file that names one sample per line.
        entry: types of the facts in a list's line or a data set's entry; a sample whose entry does not fit is rejected.
            Facts without a declared type are kept as they are.
        read_entry: hook for the rest of a data set's entry: takes the sample, the entry and all keys, and returns the
            sample with added files, attributes and overrides.
        described: what a sample is, for the error that there is none; empty to name the suffixes.
        lone: file suffixes that the lister takes as an input of its own, such as a video's.
        masks: whether masks may lie beside samples, so that labels of other programs are named with a way to make some.
        lister: replaces all of the above if it returns samples; it returns None for an input that is not of its kind.
    """

    suffixes: tuple[str, ...] = ()
    sidecars: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listings: bool = False
    described: str = ""
    entry: type[Params] | None = None
    read_entry: Callable[[Listed, Mapping[str, Any], Collection[str]], Listed] | None = None
    lone: tuple[str, ...] = ()
    masks: bool = False
    lister: Callable[[InputView], Iterable[Listed] | None] | None = None
