"""What a user is told when the S3 side is not as expected."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions as botocore_errors
from botocore.exceptions import ClientError
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from urllib3.exceptions import ProtocolError, SSLError

from scenewright_stages.store import (
    NEEDS_A_PERSON,
    AccessRefused,
    BucketMissing,
    StoreError,
    StoreFull,
    StoreMisused,
    StoreUnreachable,
    open_store,
)
from scenewright_stages.store.s3 import S3Store

THROTTLED = ThrottledRetryableChecker._THROTTLED_ERROR_CODES
TRANSIENT = TransientRetryableChecker._TRANSIENT_ERROR_CODES


def test_a_missing_bucket_is_named(s3_bucket: str) -> None:
    with pytest.raises(BucketMissing, match=r"no-such-bucket.*create it"):
        open_store("s3://no-such-bucket/prefix").check_writable()


def test_a_missing_bucket_is_no_empty_listing(s3_bucket: str) -> None:
    with pytest.raises(BucketMissing):
        list(open_store("s3://no-such-bucket").list())


def test_wrong_keys_are_access_refused(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessRefused, match="credentials"):
        open_store(f"s3://{s3_bucket}").check_writable()


def test_no_keys_at_all_are_access_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AccessRefused, match="AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket").check_writable()


def test_a_dead_endpoint_is_unreachable_after_bounded_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL"):
        open_store("s3://bucket").check_writable()


class _Damaging(BaseHTTPRequestHandler):
    """Answers with the checksum of other bytes, as a server may whose object is replaced while it is read."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.send_header("x-amz-checksum-crc32", "yeSx9A==")
        self.end_headers()
        self.wfile.write(b"new")

    def log_message(self, *_: object) -> None:
        pass


def test_bytes_that_are_not_those_of_their_checksum_may_be_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Damaging)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    try:
        with pytest.raises(StoreUnreachable, match="checksum"):
            open_store("s3://bucket").get_bytes("key")
    finally:
        server.shutdown()
        server.server_close()


PASSING = [
    ("ExpiredToken", 400),
    ("ExpiredTokenException", 400),
    ("TokenRefreshRequired", 400),
    ("RequestTimeTooSkewed", 403),
    ("RequestTimeout", 400),
    ("ThrottlingException", 400),
    ("Throttling", 400),
    ("RequestLimitExceeded", 400),
    ("TooManyRequests", 429),
    ("TooManyRequestsException", 400),
    ("IncompleteBody", 400),
    ("BadDigest", 400),
    ("XAmzContentSHA256Mismatch", 400),
    ("OperationAborted", 409),
    ("InternalError", 500),
    ("InternalError", 200),
    ("SlowDown", 503),
    ("SlowDown", 200),
    ("ServiceUnavailable", 503),
    ("None", 502),
    ("None", 507),
    ("None", 509),
    ("IDPCommunicationError", 400),
    ("None", 520),
    ("None", 429),
    ("502", 502),
    ("520", 520),
    ("XMinioServerNotInitialized", 503),
]
REFUSED = [("AccessDenied", 403), ("403", 403), ("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403)]
MISUSED = [("NotImplemented", 501), ("InvalidBucketName", 400), ("PermanentRedirect", 301), ("MethodNotAllowed", 405)]


def answered(code: str, status: int) -> type[BaseException]:
    """The class of the error that a client's error response becomes."""
    store = S3Store("bucket", "prefix")
    response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(StoreError) as caught, store._explained("key"):
        raise ClientError(response, "PutObject")
    return type(caught.value)


@pytest.mark.parametrize(("code", "status"), PASSING)
def test_what_may_pass_is_waited_for(code: str, status: int) -> None:
    assert answered(code, status) is StoreUnreachable


@pytest.mark.parametrize("code", [*THROTTLED, *TRANSIENT])
def test_whatever_botocore_calls_throttled_or_transient_is_waited_for(code: str) -> None:
    assert answered(code, 400) is StoreUnreachable


@pytest.mark.parametrize(("code", "status"), [*REFUSED, *MISUSED])
def test_what_a_person_must_change_is_told_apart(code: str, status: int) -> None:
    assert answered(code, status) is (AccessRefused if (code, status) in REFUSED else StoreMisused)
    assert issubclass(answered(code, status), NEEDS_A_PERSON)


@pytest.mark.parametrize(("code", "status"), [("QuotaExceeded", 403), ("XMinioStorageFull", 507)])
def test_a_server_without_space_is_full_and_neither_away_nor_refusing(code: str, status: int) -> None:
    assert answered(code, status) is StoreFull


BROKEN = [
    SSLError("EOF occurred in violation of protocol"),
    ProtocolError("Connection broken: IncompleteRead(5 bytes read)"),
    botocore_errors.SSLError(endpoint_url="https://s3", error="bad record mac"),
    botocore_errors.EndpointConnectionError(endpoint_url="https://s3", error="Name or service not known"),
    botocore_errors.ConnectionClosedError(endpoint_url="https://s3"),
    botocore_errors.ResponseStreamingError(error="IncompleteRead"),
    botocore_errors.ReadTimeoutError(endpoint_url="https://s3"),
]


@pytest.mark.parametrize("problem", BROKEN, ids=lambda each: f"{type(each).__module__}.{type(each).__name__}")
def test_a_connection_that_breaks_at_any_point_is_waited_for(problem: Exception) -> None:
    with pytest.raises(StoreUnreachable), S3Store("bucket", "prefix")._explained("key"):
        raise problem


def test_an_unheard_of_code_is_not_taken_for_a_mistake_of_the_user() -> None:
    assert not issubclass(answered("SomethingNew", 400), NEEDS_A_PERSON)


@pytest.mark.parametrize(("code", "kind"), [("SlowDown", StoreUnreachable), ("AccessDenied", AccessRefused)])
def test_a_transfer_in_parts_ends_with_the_error_of_its_part(code: str, kind: type[StoreError]) -> None:
    with pytest.raises(kind), S3Store("bucket", "prefix")._explained("key"):
        try:
            raise ClientError({"Error": {"Code": code, "Message": "m"}}, "UploadPart")
        except ClientError as problem:
            raise S3UploadFailedError(str(problem)) from problem


def test_an_error_of_one_key_in_a_deletion_is_judged_as_any_other() -> None:
    error = S3Store("bucket", "prefix")._error_for("key", {"Error": {"Key": "key", "Code": "InternalError"}})
    assert isinstance(error, StoreUnreachable)
