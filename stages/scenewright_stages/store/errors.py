"""Errors of stores, each with a remedy."""

# Class names describe the situation and do not end in Error.
# ruff: noqa: N818

from __future__ import annotations

from scenewright_stages.contract.errors import ScenewrightError


class StoreError(ScenewrightError):
    """Something about an object or a store.

    Args:
        uri: the object or prefix concerned.
        problem: what happened.
        remedy: what the user can do.
    """

    def __init__(self, uri: str, problem: str, remedy: str) -> None:
        self.uri = uri
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{uri}: {problem}; {remedy}")


class ObjectMissing(StoreError):
    """There is no such object."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "no such object", "check the path, and that nothing deletes it meanwhile")


class PreconditionFailed(StoreError):
    """A conditional read or write found another version of the object than expected."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "the object is not the expected version", "somebody else wrote it meanwhile")


class UnsafeKey(StoreError):
    """A key would leave its prefix, or is invalid."""

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(uri, problem, "use a path below the prefix, without '..' and without links that lead out")


class BucketMissing(StoreError):
    """The bucket does not exist."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "the bucket does not exist", "create it, or correct the name and AWS_ENDPOINT_URL")


class AccessRefused(StoreError):
    """Credentials or file permissions do not allow the operation."""


class StoreMisused(StoreError):
    """The server will never accept this request: a wrong name, region, argument or an operation that it lacks."""


class StoreFull(StoreError):
    """No space or quota is left."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "no space is left", "free some space, raise the quota, or name another output")


class StoreUnreachable(StoreError):
    """The storage does not answer or is not able to serve the request now, after bounded retries."""


NEEDS_A_PERSON = (AccessRefused, BucketMissing, ObjectMissing, UnsafeKey, StoreFull, StoreMisused)
"""What somebody must change if it is so from the start. Later, and for everything else, another attempt may succeed:
credentials are renewed, servers are restarted."""
