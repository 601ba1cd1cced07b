"""Where a job reads and writes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from scenewright.api import patterns
from scenewright.api.patterns import resource_name
from scenewright_stages.contract.layout import STORAGE_KEYS
from scenewright_stages.contract.params import Params, Rule

MAXIMUM_URI_LENGTH = 1024


NO_PARENTS = Rule(
    "uri",
    "!self.uri.matches('(^|/)[.][.](/|$)')",
    "must not contain the segment `..`",
    lambda block: ".." not in block.uri.split("/"),
    ({"uri": "s3://bucket/a/../b"},),
)


def _in_order(indices: str) -> bool:
    ranges = (part.partition("-") for part in indices.split(",") if "-" in part)
    return all(int(first) <= int(last) for first, _, last in ranges)


class Select(Params):
    """Which samples of the input take part; all of them when nothing is given."""

    indices: str = Field(
        default="",
        max_length=2000,
        pattern=patterns.INDICES,
        description="Positions in the sorted input, from 0: numbers and inclusive ranges such as 0-9,12.",
    )
    variants: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=list,
        max_length=32,
        description="Names of variants of a dataset folder, such as photorealistic; all of them when empty.",
    )
    limit: int | None = Field(default=None, ge=1, le=10_000_000, description="At most this many samples, in order.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "indices",
            "self.indices.split(',').all(part, !part.contains('-') || "
            "int(part.split('-')[0]) <= int(part.split('-')[1]))",
            "a range must begin with its smaller number",
            lambda block: _in_order(block.indices),
            ({"indices": "0-3,9-5"},),
        ),
    )


class Input(Params):
    """The input: one image, a prefix of images, or a dataset folder with metadata.json."""

    uri: str = Field(
        max_length=MAXIMUM_URI_LENGTH,
        pattern=patterns.URI,
        description="s3://bucket/prefix or file:///absolute/path. `scenewright run` also takes paths, relative to "
        "the manifest's folder.",
    )
    select: Select = Select()

    rules: ClassVar[tuple[Rule, ...]] = (NO_PARENTS,)


class Output(Params):
    """Where the results go."""

    uri: str = Field(
        max_length=MAXIMUM_URI_LENGTH,
        pattern=patterns.URI,
        description="s3://bucket/prefix or file:///absolute/path. One job at a time writes to it.",
    )
    prune: bool = Field(
        default=True,
        description="After publishing, delete the files that only the previous publication named. Nothing else is "
        "ever deleted.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (NO_PARENTS,)


class Storage(Params):
    """How Pods authenticate at the object storage; the CLI takes the AWS_* variables of its own environment."""

    secret_name: str = resource_name(
        f"Secret of which only {', '.join(STORAGE_KEYS[:-1])} and {STORAGE_KEYS[-1]} are taken."
    )
    service_account_name: str = resource_name(
        "Service account of the stage Pods, for workload identity instead of keys."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "secretName",
            "self.secretName == '' || self.serviceAccountName == ''",
            "contradicts serviceAccountName: give keys or workload identity, not both",
            lambda block: not (block.secret_name and block.service_account_name),
            ({"secretName": "a", "serviceAccountName": "b"},),
        ),
    )
