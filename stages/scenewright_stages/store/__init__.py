"""Object storage behind one small interface: folders and S3."""

from scenewright_stages.store.errors import (
    NEEDS_A_PERSON,
    AccessRefused,
    BucketMissing,
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreFull,
    StoreMisused,
    StoreUnreachable,
    UnsafeKey,
)
from scenewright_stages.store.interface import Store, StoredObject, hash_bytes, hash_file
from scenewright_stages.store.local import linked_folder
from scenewright_stages.store.opening import open_store, split_uri

__all__ = [
    "NEEDS_A_PERSON",
    "AccessRefused",
    "BucketMissing",
    "ObjectMissing",
    "PreconditionFailed",
    "Store",
    "StoreError",
    "StoreFull",
    "StoreMisused",
    "StoreUnreachable",
    "StoredObject",
    "UnsafeKey",
    "hash_bytes",
    "hash_file",
    "linked_folder",
    "open_store",
    "split_uri",
]
