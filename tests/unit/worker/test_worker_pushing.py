"""Pushes: the token read anew, pauses as asked for, and no fault that reaches the work."""

from __future__ import annotations

import http.server
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scenewright_stages.contract.reports import Push
from scenewright_stages.worker.process.progress import Progress
from scenewright_stages.worker.process.pushing import Pusher, PushTarget

PUSH = Push(run="r-1", step="depth", shard=3)


class Operator:
    """An endpoint that keeps what it gets and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[float, str, dict[str, Any]]] = []
        self.paths: list[str] = []
        self.status, self.headers = 204, {"Retry-After": "0"}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.paths.append(self.path)
                outer.got.append((time.monotonic(), self.headers["Authorization"], body))
                self.send_response(outer.status)
                for name, value in {**outer.headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Keeps quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/progress"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def operator() -> Iterator[Operator]:
    found = Operator()
    yield found
    found.close()


def target(url: str, folder: Path) -> PushTarget:
    token = folder / "token"
    token.write_text("token-1\n")
    found = PushTarget.from_environment({"SCENEWRIGHT_PROGRESS_URL": url, "SCENEWRIGHT_PROGRESS_TOKEN": str(token)})
    assert found is not None
    return found


def wait_for(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_counters_arrive_with_the_token_of_the_moment(operator: Operator, tmp_path: Path) -> None:
    found = target(operator.url, tmp_path)
    pusher = Pusher(found, lambda: PUSH, interval=0.02)
    wait_for(lambda: len(operator.got) > 1)
    found.token_file.write_text("token-2")
    wait_for(lambda: operator.got[-1][1] == "Bearer token-2")
    pusher.close()
    assert operator.got[0][1] == "Bearer token-1"
    assert operator.got[0][2] == json.loads(PUSH.model_dump_json(by_alias=True))


@pytest.mark.parametrize("path", ["", "/", "/v1/progress"])
def test_the_host_alone_is_address_enough(operator: Operator, tmp_path: Path, path: str) -> None:
    host = operator.url.removesuffix("/v1/progress")
    Pusher(target(f"{host}{path}", tmp_path), lambda: PUSH, 60.0).close()
    assert operator.paths == ["/v1/progress"]


def test_the_last_counters_are_pushed_at_the_end(operator: Operator, tmp_path: Path) -> None:
    done = [0]
    pusher = Pusher(target(operator.url, tmp_path), lambda: PUSH.model_copy(update={"ended_here": done[0]}), 60.0)
    done[0] = 7
    pusher.close()
    assert [body["endedHere"] for _, _, body in operator.got] == [7]


def test_the_operator_sets_the_pace(operator: Operator, tmp_path: Path) -> None:
    operator.headers = {"Retry-After": "1"}
    pusher = Pusher(target(operator.url, tmp_path), lambda: PUSH, interval=0.02)
    time.sleep(1.5)
    pusher.close()
    assert len(operator.got) <= 3, "one, one after a second, one at the end; 75 at its own pace"


def test_refusals_make_the_pauses_longer(operator: Operator, tmp_path: Path) -> None:
    operator.status = 401
    pusher = Pusher(target(operator.url, tmp_path), lambda: PUSH, interval=0.02)
    time.sleep(1.0)
    pusher.close()
    times = [at for at, _, _ in operator.got[:-1]]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 3 <= len(times) <= 7 and all(later > earlier for earlier, later in itertools.pairwise(pauses))


def test_it_recovers_when_the_operator_is_back(operator: Operator, tmp_path: Path) -> None:
    operator.status = 500
    pusher = Pusher(target(operator.url, tmp_path), lambda: PUSH, interval=0.02)
    wait_for(lambda: len(operator.got) >= 4)
    operator.status = 204
    count = len(operator.got)
    wait_for(lambda: len(operator.got) >= count + 4)
    pusher.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1/progress", "http://name.invalid/v1/progress"])
def test_nobody_there_is_no_fault(url: str, tmp_path: Path) -> None:
    pusher = Pusher(target(url, tmp_path), lambda: PUSH, interval=0.01)
    time.sleep(0.1)
    pusher.close()


def test_an_endpoint_that_hangs_holds_nothing_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pusher = Pusher(target(f"http://127.0.0.1:{silent.getsockname()[1]}/", tmp_path), lambda: PUSH, interval=0.01)
        time.sleep(0.1)
        began = time.monotonic()
        pusher.close()
        assert time.monotonic() - began < 1.5


def test_a_missing_token_file_is_no_fault(operator: Operator, tmp_path: Path) -> None:
    found = target(operator.url, tmp_path)
    found.token_file.unlink()
    pusher = Pusher(found, lambda: PUSH, interval=0.01)
    time.sleep(0.1)
    found.token_file.write_text("late")
    wait_for(lambda: bool(operator.got))
    pusher.close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SCENEWRIGHT_PROGRESS_URL": "http://operator/"},
        {"SCENEWRIGHT_PROGRESS_TOKEN": "/token"},
        {"SCENEWRIGHT_PROGRESS_URL": "file:///etc/passwd", "SCENEWRIGHT_PROGRESS_TOKEN": "/token"},
    ],
)
def test_without_an_address_nothing_is_pushed(environment: dict[str, str]) -> None:
    assert PushTarget.from_environment(environment) is None


def test_the_counters_are_those_of_the_step() -> None:
    progress = Progress(None, "r-1", 3, gpus=1)
    assert progress.push() is None
    progress.begin_step("depth", "loading", total=9)
    progress.enter("running")
    progress.begin_sample("a")
    progress.end_sample()
    progress.count(done=5, failed=1, skipped=0)
    push = progress.push()
    assert push is not None and (push.run, push.step, push.shard, push.phase) == ("r-1", "depth", 3, "running")
    assert (push.samples.total, push.samples.done, push.samples.failed, push.ended_here) == (9, 5, 1, 1)
    assert push.waiting_seconds >= 0.0 and push.load_seconds >= 0.0


def test_numbers_of_a_stage_are_shown_until_it_says_others_and_pushed() -> None:
    progress = Progress(None, "r-1", 0)
    progress.begin_step("train", "running", 1)
    progress.measure({"loss": 0.5, "step": 1})
    progress.measure({"loss": 0.25, "psnr": float("nan")})
    assert progress.snapshot()["numbers"] == {"loss": 0.25, "step": 1.0}
    push = progress.push()
    assert push is not None and push.numbers == {"loss": 0.25, "step": 1.0}
    progress.begin_step("render", "running", 1)
    assert progress.snapshot()["numbers"] == {}


@pytest.mark.parametrize("numbers", [{"Loss": 1.0}, {"a-b": 1.0}, {"": 1.0}, {f"n{i}": 1.0 for i in range(17)}])
def test_numbers_with_other_names_or_too_many_are_refused(numbers: dict[str, float]) -> None:
    progress = Progress(None, "r-1", 0)
    progress.measure({"loss": 1.0})
    with pytest.raises(ValueError, match=r"name of a number|at most 16"):
        progress.measure(numbers)
    assert progress.snapshot()["numbers"] == {"loss": 1.0}
