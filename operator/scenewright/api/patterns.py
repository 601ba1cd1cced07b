"""Patterns of text fields, and their meanings for error messages."""

from __future__ import annotations

from typing import Any

from pydantic import Field

URI = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?|file:///[^?#]+)$"
OPTIONAL_URI = f"^$|{URI}"
"""An S3 bucket with an optional prefix, or an absolute local path; the CLI makes relative paths absolute first."""
OBJECT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
OPTIONAL_OBJECT_NAME = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"
OPTIONAL_RESOURCE_NAME = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
STAGE_NAME = r"^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$"
BACKEND_NAME = r"^([a-z0-9][a-z0-9.-]*)?$"
LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
PERCENTAGE = r"^(100|[1-9]?[0-9])%$"
IMAGE = (
    r"^$|^((\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]+)?/)?"
    r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+([+._-][a-z0-9]+)*:[0-9a-f]{32,128})?$"
)
"""A container image: registry and port, repository in lower case, tag, digest."""
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
EXTENDED_RESOURCE = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
RESOURCE = (
    r"^(cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|"
    r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)$"
)
NOTHING = r"^0+([.]0+)?[a-zA-Z]*$"
OPTIONAL_LABEL_KEY = f"^$|{LABEL_KEY}"
WHOLE_NUMBER = r"^[0-9]+$"
DURATION = r"^([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"
INDICES = r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$"

_NAME = "lower-case letters, digits and dashes, with a letter or digit at both ends"
MEANINGS = {
    URI: "s3://bucket/prefix, file:///absolute/path or a local path",
    OPTIONAL_URI: "s3://bucket/prefix, file:///absolute/path or a local path",
    OBJECT_NAME: _NAME,
    OPTIONAL_OBJECT_NAME: _NAME,
    OPTIONAL_RESOURCE_NAME: f"{_NAME}; dots are allowed",
    STAGE_NAME: f"{_NAME}; at most 32 characters",
    BACKEND_NAME: "lower-case letters, digits, dots and dashes",
    LABEL_VALUE: "a label value: letters, digits, dashes, dots and underscores",
    QUANTITY: "a quantity such as 500m, 4 or 16Gi",
    PERCENTAGE: "a percentage such as 20%",
    IMAGE: "a container image such as registry.example/lab/scene:1.2, in small letters",
    EXTENDED_RESOURCE: "an extended resource such as nvidia.com/gpu",
    OPTIONAL_LABEL_KEY: "a label key such as example.com/team",
    DURATION: "a duration such as 36h, 90m or 1d12h",
    INDICES: "numbers and ranges such as 0-9,12",
}


def resource_name(description: str) -> Any:
    """A field with the name of another object of the cluster; empty for none."""
    return Field(default="", max_length=253, pattern=OPTIONAL_RESOURCE_NAME, description=description)
