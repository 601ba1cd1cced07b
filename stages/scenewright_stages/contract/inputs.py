"""What counts as a sample of a pipeline's input: by file name endings, by lists and entries, or by a lister of its own.

Listers are light, pure functions from a view of the input to :class:`Listed` samples; the index step fingerprints the
files that these name and refuses what is not there.
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
        id: path-safe and unique; empty when none could be made.
        files: key below the input, or absolute URI, by role; ``source`` for the one file of most samples. One that
            ends in ``/`` names a folder.
        attributes: facts that stages may read.
        overrides: parameters that the entry sets, as in a manifest; only those that the pipeline names are accepted.
        provided: outputs of stages that are already there, as keys or URIs by stage and output.
        rejected: reason and message when it cannot be a sample.
    """

    id: str
    files: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    provided: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rejected: tuple[str, str] | None = None


class InputView(Protocol):
    """The input as a lister sees it: names, sizes, and the content of small files."""

    @property
    def uri(self) -> str:
        """Of the folder or prefix; of a single object the folder that it lies in."""

    @property
    def single(self) -> str:
        """Key of the object that the manifest names; empty for a folder or prefix."""

    @property
    def keys(self) -> Sequence[str]:
        """Keys of all objects, sorted; of a single object those that begin with its stem."""

    def size(self, key: str) -> int:
        """Bytes of an object; KeyError when there is none."""

    def read(self, key: str) -> bytes:
        """Content of an object of at most 64 MiB; ConfigurationError for a larger one."""


@dataclass(frozen=True)
class InputKind:
    """What the index step lists as samples.

    Attributes:
        suffixes: file name endings (lower case) that count as a sample.
        sidecars: role -> endings appended to the sample's stem, such as ``{"depth": (".depth.npy",)}``.
        listings: whether a ``.jsonl`` or ``.csv`` file as the input names the samples, one in each line.
        entry: types of what a list's line or a data set's entry may say of a sample; a sample whose entry does not fit
            is rejected. Other facts are kept as they are.
        read_entry: adds what a data set's entry says beside its picture and the facts of `entry`: gets the sample, the
            entry and all keys, and returns the sample with files, attributes and overrides of its own.
        lister: takes over from all of this where it returns samples; None from it means that the input is not of its
            kind.
    """

    suffixes: tuple[str, ...] = ()
    sidecars: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listings: bool = False
    entry: type[Params] | None = None
    read_entry: Callable[[Listed, Mapping[str, Any], Collection[str]], Listed] | None = None
    lister: Callable[[InputView], Iterable[Listed] | None] | None = None
