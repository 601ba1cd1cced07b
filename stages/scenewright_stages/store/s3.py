"""An S3 bucket, or a prefix in one, as a store."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import urllib3.exceptions
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as botocore_errors
from botocore.config import Config
from botocore.retries.standard import RetryContext, ThrottledRetryableChecker, TransientRetryableChecker

from scenewright_stages.contract.layout import ROOT
from scenewright_stages.store.errors import (
    AccessRefused,
    BucketMissing,
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreFull,
    StoreMisused,
    StoreUnreachable,
)
from scenewright_stages.store.interface import BLOCK_BYTES, Store, StoredObject, checked_key

SINGLE_PUT_BYTES = 64 << 20
"""Up to here one request writes an object, so that its ETag is the same wherever it was written from."""
DELETE_BATCH = 1000
"""Most keys that one DeleteObjects request takes."""
CONNECTIONS = 32
MISSING_CODES = frozenset({"404", "NoSuchKey", "NotFound"})
REFUSED_CODES = frozenset(
    {
        "403",
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "InvalidAccessKeyId",
        "InvalidIdentityToken",
        "InvalidToken",
        "SignatureDoesNotMatch",
    }
)
FULL_CODES = frozenset({"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"})
"""Of Ceph and MinIO, with any status."""
CONDITION_CODES = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict", "409"})
MISUSED_CODES = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "EntityTooLarge",
        "IllegalLocationConstraintException",
        "InvalidArgument",
        "InvalidBucketName",
        "InvalidObjectState",
        "InvalidRequest",
        "KeyTooLongError",
        "MethodNotAllowed",
        "NotImplemented",
        "PermanentRedirect",
    }
)
PASSING_CODES = frozenset(
    {
        "BadDigest",
        "ExpiredToken",
        "ExpiredTokenException",
        "IDPCommunicationError",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeTooSkewed",
        "ServiceUnavailable",
        "TokenRefreshRequired",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
"""What botocore does not retry by itself, or not in all its modes: credentials that are being renewed, clocks that are
being set, requests that were damaged or overtaken on their way. Servers other than AWS add codes of their own."""
_TRANSIENT, _THROTTLED = TransientRetryableChecker(), ThrottledRetryableChecker()


def passes(response: Mapping[str, Any]) -> bool:
    """Whether an error response may be followed by success: by botocore's own classification, then by ours."""
    details = response.get("Error", {})
    code = str(details.get("Code"))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or (code if code.isdecimal() else 0))
    context = RetryContext(attempt_number=1, parsed_response=dict(response))
    known = _TRANSIENT.is_retryable(context) or _THROTTLED.is_retryable(context)
    # A code says more than the status: "NotImplemented" is a 501, which no waiting mends.
    return known or code in PASSING_CODES or (code not in MISUSED_CODES and (status >= 500 or status in (408, 429)))


class S3Store(Store):
    """Objects of a bucket below a prefix.

    Credentials, region and endpoint come from the usual ``AWS_*`` environment variables. Requests are tried up to
    five times with exponential backoff and jitter.

    Args:
        bucket: its name.
        prefix: below which all keys lie, without slashes at the ends; empty for the whole bucket.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        if not bucket:
            raise StoreError("s3://", "no bucket is named", "write s3://bucket/prefix")
        with self._explained(""):
            self._client = _client(_aws_environment())
        # "auto" picks the CRT client on instance types where it is faster.
        self._transfer = TransferConfig(
            multipart_threshold=SINGLE_PUT_BYTES, max_concurrency=8, preferred_transfer_client="auto"
        )

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        start = f"{self.prefix}/" if self.prefix else ""
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start + prefix)
            for page in pages:
                for entry in page.get("Contents", []):
                    # Skip the empty "folder" objects that consoles create.
                    if not entry["Key"].endswith("/"):
                        yield _stored(entry["Key"][len(start) :], entry["Size"], entry)

    def head(self, key: str) -> StoredObject | None:
        try:
            with self._explained(key):
                answer = self._client.head_object(Bucket=self.bucket, Key=self._full(key))
        except ObjectMissing:
            return None
        return _stored(key, answer["ContentLength"], answer)

    def get_bytes(self, key: str) -> bytes:
        with self._explained(key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._full(key))["Body"]
            content: bytes = body.read()
            return content

    def get_range(self, key: str, start: int, length: int) -> bytes:
        try:
            with self._explained(key):
                wanted = f"bytes={start}-{start + length - 1}"
                body = self._client.get_object(Bucket=self.bucket, Key=self._full(key), Range=wanted)["Body"]
                content: bytes = body.read()
                return content
        except StoreError as error:
            if "InvalidRange" in error.problem:
                return b""
            raise

    def folders(self, prefix: str = "", most: int = 1000) -> tuple[str, ...]:
        start = (f"{self.prefix}/" if self.prefix else "") + prefix
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=start, Delimiter="/", PaginationConfig={"MaxItems": most}
            )
            found = sorted(
                each["Prefix"][len(start) :].rstrip("/") for page in pages for each in page.get("CommonPrefixes", [])
            )
            return tuple(found)

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        condition = {} if if_match is None else {"IfMatch": if_match}
        with self._explained(key):
            body = self._client.get_object(Bucket=self.bucket, Key=self._full(key), **condition)["Body"]
            with path.open("wb") as file:
                for block in body.iter_chunks(BLOCK_BYTES):
                    file.write(block)

    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> StoredObject:
        condition: dict[str, Any] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        elif if_match is not None:
            condition["IfMatch"] = if_match
        try:
            with self._explained(key):
                answer = self._client.put_object(Bucket=self.bucket, Key=self._full(key), Body=data, **condition)
        except ObjectMissing:
            # The conditional request named an object that no longer exists.
            raise PreconditionFailed(self.uri_of(key)) from None
        return _stored(key, len(data), answer)

    def put_file(self, key: str, path: Path) -> StoredObject:
        size = path.stat().st_size
        with self._explained(key):
            if size > SINGLE_PUT_BYTES:
                self._client.upload_file(str(path), self.bucket, self._full(key), Config=self._transfer)
            else:
                with path.open("rb") as file:
                    answer = self._client.put_object(Bucket=self.bucket, Key=self._full(key), Body=file)
                return _stored(key, size, answer)
        found = self.head(key)
        if found is None:
            raise ObjectMissing(self.uri_of(key))
        return found

    def delete(self, keys: Iterable[str]) -> None:
        full = [self._full(key) for key in keys]
        for start in range(0, len(full), DELETE_BATCH):
            batch = [{"Key": key} for key in full[start : start + DELETE_BATCH]]
            with self._explained(""):
                answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
            for problem in answer.get("Errors", []):
                if problem.get("Code") not in MISSING_CODES:
                    raise self._error_for(problem["Key"], {"Error": problem})

    def fingerprint(self, found: StoredObject) -> str:
        return found.etag

    def check_writable(self) -> None:
        key = f"{ROOT}/tmp/{uuid.uuid4().hex}"
        self.put_bytes(key, b"")
        self.delete([key])

    def _full(self, key: str) -> str:
        checked_key(self.uri, key)
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except botocore_errors.ClientError as problem:
            raise self._error_for(key, problem.response) from problem
        except Boto3Error as problem:
            # A transfer in parts: the error of one of them is the cause.
            cause = problem.__context__
            if isinstance(cause, botocore_errors.ClientError):
                raise self._error_for(key, cause.response) from problem
            raise StoreUnreachable(self.uri_of(key), str(problem), "try again later") from problem
        except (botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError) as problem:
            raise AccessRefused(
                self.uri, "no S3 credentials were found", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from problem
        except (
            botocore_errors.HTTPClientError,
            botocore_errors.ConnectionError,
            botocore_errors.IncompleteReadError,
            # Botocore translates most errors of a body that breaks off, but not those of TLS.
            urllib3.exceptions.HTTPError,
        ) as problem:
            raise StoreUnreachable(
                self.uri, f"the endpoint does not answer: {problem}", "check AWS_ENDPOINT_URL and the network"
            ) from problem
        except botocore_errors.FlexibleChecksumError as problem:
            # Corrupted in transit, or replaced while it was being read.
            raise StoreUnreachable(self.uri_of(key), str(problem), "try again later") from problem
        except botocore_errors.BotoCoreError as problem:
            raise StoreError(self.uri_of(key), str(problem), "check the AWS_* variables and the URI") from problem

    def _error_for(self, key: str, response: Mapping[str, Any]) -> StoreError:
        uri, details = self.uri_of(key), response.get("Error", {})
        code, message = str(details.get("Code")), str(details.get("Message"))
        if code == "NoSuchBucket":
            return BucketMissing(f"s3://{self.bucket}")
        if code in MISSING_CODES:
            return ObjectMissing(uri)
        if code in CONDITION_CODES:
            return PreconditionFailed(uri)
        if code in FULL_CODES:
            return StoreFull(uri)
        if passes(response):
            return StoreUnreachable(uri, f"{code}: {message}", "try again later")
        kind, remedy = StoreError, "see the S3 server's documentation of this error"
        if code in REFUSED_CODES:
            kind, remedy = AccessRefused, "check the credentials and the bucket's policy"
        elif code in MISUSED_CODES:
            kind, remedy = StoreMisused, "check the URI, the region and what the server supports"
        return kind(uri, f"{code}: {message}", remedy)


def _aws_environment() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


@functools.cache
def _client(environment: tuple[tuple[str, str], ...]) -> Any:
    """A thread-safe client, cached per environment because creating one takes 0.1 s."""
    values = dict(environment)
    endpoint = values.get("AWS_ENDPOINT_URL_S3") or values.get("AWS_ENDPOINT_URL")
    # Servers other than AWS rarely have a wildcard DNS name for buckets.
    addressing = {"addressing_style": "path"} if endpoint else {}
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 5},
        s3=addressing,
    )
    region = values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or "us-east-1"
    return boto3.session.Session().client("s3", region_name=region, config=config)


def _stored(key: str, size: int, answer: Mapping[str, Any]) -> StoredObject:
    modified = answer.get("LastModified")
    return StoredObject(key, size, str(answer.get("ETag", "")).strip('"'), modified.timestamp() if modified else 0.0)
