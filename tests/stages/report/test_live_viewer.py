"""A scene is shown while it grows: by Rerun's own command, which takes what is sent and stores it."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rerun as rr
from pydantic import ValidationError
from report_scenes import CAMERA, gradient_picture
from test_report_rerun import chunks_of, scene

from scenewright_stages.contract.stage import StageContext
from scenewright_stages.scenes import live, rerun
from scenewright_stages.scenes.frames import Frame, gaussians_of
from scenewright_stages.scenes.live import LiveViewer
from scenewright_stages.scenes.recorded import RerunScene
from scenewright_stages.vistadream.coarse import CoarseStage
from scenewright_stages.vistadream.params import VistaDreamParams
from scenewright_stages.vistadream.pipeline import coarse_stage

pytestmark = pytest.mark.filterwarnings("ignore:RRD file has no footer")
DEADLINE = 60.0
PHOTOGRAPH = Path(__file__).parents[3] / "examples" / "inputs" / "chelsea.png"


@dataclass(frozen=True)
class Receiver:
    """Rerun's command as it receives: where it listens, what it stores, and the process."""

    address: str
    path: Path
    process: subprocess.Popen[str]

    def stored(self, last: str) -> set[str]:
        """Entities that were received, as soon as `last` is among them."""
        end = time.monotonic() + DEADLINE
        found: set[str] = set()
        while last not in found and time.monotonic() < end:
            time.sleep(0.05)
            try:
                found = set(chunks_of(self.path, "recording"))
            except (OSError, ValueError, RuntimeError):
                continue  # nothing whole yet
        return found


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    path = tmp_path / "received.rrd"
    command = [sys.executable, "-m", "rerun", "--save", str(path), "--port", "auto", "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"HOME": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stdout is not None
    address = ""
    for line in process.stdout:
        if found := re.search(r"rerun\+http://[0-9.:]+/proxy", line):
            address = found[0]
            break
    try:
        yield Receiver(address, path, process)
    finally:
        # It does not always hear an interrupt, and what it has received is stored already.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.process
def test_a_viewer_sees_the_scene_grow_although_each_stage_is_a_process_of_its_own(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE_SECONDS", DEADLINE)
    monkeypatch.setattr(live, "CONNECT_SECONDS", DEADLINE)
    whole = scene()
    first = replace(whole, coarse_views=(), frames=())
    LiveViewer(receiver.address).show(first)
    seen = receiver.stored("/world/splats")
    assert "/world/initialization/cameras/outpaint/rgb" in seen
    assert not [path for path in seen if "coarse" in path or "final" in path]
    growing = LiveViewer(receiver.address)
    growing.show(replace(whole, coarse_views=whole.coarse_views[:1], frames=()))
    assert "/world/coarse/cameras/view\\ 2/rgb" not in receiver.stored("/world/coarse/points/view\\ 1")
    growing.show(whole)
    assert growing.watches
    assert "/world/coarse/cameras/view\\ 2/rgb" in receiver.stored("/world/final/camera/depth")


@pytest.mark.slow
@pytest.mark.process
def test_the_commands_own_viewer_shows_what_the_job_makes_and_ends_with_it(tmp_path: Path) -> None:
    settings = ("maxResolution=64", "initialize.iterations=2", "render.maxFrames=4")
    command = [sys.executable, "-m", "scenewright.cli.main", "run", str(PHOTOGRAPH), "--rerun"]
    command += ["--output", str(tmp_path / "out"), *(part for each in settings for part in ("--set", each))]
    # Without a screen.
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    path = tmp_path / "seen.rrd"
    with subprocess.Popen(
        command,
        env={**environment, "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        page = run.stderr.readline().removeprefix("viewer: ").strip()
        with urllib.request.urlopen(page, timeout=DEADLINE) as answer:
            assert b"<html" in answer.read().lower()
        (address,) = parse_qs(urlsplit(page).query)["url"]
        # It stores what a viewer at this address sees, and ends when the address does.
        seeing = [sys.executable, "-m", "rerun", address, "--save", str(path)]
        with subprocess.Popen(seeing, env={"HOME": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT):
            assert run.wait() == 0, run.stderr.read()
    with pytest.raises(OSError):
        urllib.request.urlopen(page, timeout=DEADLINE)
    stored = tmp_path / "out" / PHOTOGRAPH.stem / "scene.rrd"
    assert set(chunks_of(path, "recording")) == set(chunks_of(stored, "recording"))


def test_views_are_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[str]] = []
    monkeypatch.setattr(live.socket, "create_connection", lambda place, seconds: io.BytesIO())
    monkeypatch.setattr(rr.RecordingStream, "connect_grpc", lambda self, address: None)
    monkeypatch.setattr(
        rerun,
        "log_scene",
        lambda stream, scene, frustum: sent.append([view.name for view in (*scene.initial_views, *scene.coarse_views)]),
    )
    viewer, whole = LiveViewer("rerun+http://viewer:9876/proxy"), scene()
    viewer.show(replace(whole, coarse_views=whole.coarse_views[:1]))
    viewer.show(whole)
    viewer.show(replace(whole, recording_id="another photograph"))
    assert sent == [["input", "outpaint", "view 1"], ["view 2"], ["input", "outpaint", "view 1", "view 2"]]


def test_the_coarse_stage_shows_the_views_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[RerunScene] = []
    monkeypatch.setattr(LiveViewer, "show", lambda self, scene: shown.append(scene))
    picture = gradient_picture(CAMERA.width, CAMERA.height).astype(np.float32)
    everywhere = np.ones(picture.shape[:2], np.bool_)
    depth = 2 + picture[..., 0]
    frames = [Frame(kind, picture, depth, everywhere, everywhere, everywhere, CAMERA) for kind in ("input", "coarse")]
    for address in ("rerun+http://viewer:9876/proxy", ""):
        params = VistaDreamParams.model_validate({"mode": "coarse", "liveViewer": address})
        stage = CoarseStage(StageContext(coarse_stage(params), params))
        stage._shown("china")(gaussians_of(frames[0], 0.8), frames)
    (scene,) = shown
    assert [view.name for view in (*scene.initial_views, *scene.coarse_views)] == ["input", "view 1"]
    assert scene.recording_id == "vistadream-china" and scene.splats is not None and not scene.frames


@pytest.mark.parametrize("address", ["viewer:9876", "rerun+http://viewer/proxy", "http://viewer:9876/proxy"])
def test_what_is_no_viewers_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="liveViewer"):
        VistaDreamParams.model_validate({"liveViewer": address})


def test_without_a_viewer_a_stage_continues(caplog: pytest.LogCaptureFixture) -> None:
    viewer = LiveViewer("rerun+http://127.0.0.1:9/proxy")
    viewer.show(scene())
    assert not viewer.watches and "127.0.0.1:9" in caplog.text
    assert not LiveViewer("").watches


def test_a_viewer_that_takes_nothing_holds_no_stage_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "PATIENCE_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        viewer = LiveViewer(f"rerun+http://127.0.0.1:{silent.getsockname()[1]}/proxy")
        showing = threading.Thread(target=viewer.show, args=(scene(),), daemon=True)
        showing.start()
        showing.join(DEADLINE)
        assert not showing.is_alive(), "still waits for the viewer"
    for closing in [each for each in threading.enumerate() if each.name == "viewer-close"]:
        closing.join(DEADLINE)
    assert not viewer.watches and "gets nothing more" in caplog.text
