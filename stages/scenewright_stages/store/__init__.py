"""Object storage behind one small interface: folders and S3."""

from scenewright_stages.store.errors import (
    AccessRefused,
    BucketMissing,
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreFull,
    StoreUnreachable,
    UnsafeKey,
)
from scenewright_stages.store.interface import Store, StoredObject, hash_bytes, hash_file
from scenewright_stages.store.local import linked_folder
from scenewright_stages.store.opening import open_store, split_uri

__all__ = [
    "AccessRefused",
    "BucketMissing",
    "ObjectMissing",
    "PreconditionFailed",
    "Store",
    "StoreError",
    "StoreFull",
    "StoreUnreachable",
    "StoredObject",
    "UnsafeKey",
    "hash_bytes",
    "hash_file",
    "linked_folder",
    "open_store",
    "split_uri",
]
