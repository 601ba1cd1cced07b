"""Which variables reach a Pod from the Secret of its object storage."""

from __future__ import annotations

STORAGE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
)
"""All that is ever taken from a storage secret: a whole one could set PYTHONPATH or LD_PRELOAD."""
