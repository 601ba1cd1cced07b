"""``run --rerun``: a viewer is started, the job gets its address, and it ends with the command."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scenewright.cli import viewer as viewers
from scenewright.cli.main import app
from scenewright.cli.manifests import Changes, input_document, load_plans
from scenewright.cli.viewer import Viewer, showing, viewer_here
from scenewright.planning.problems import SpecError

LISTENS = """
import socket, sys, time
# One port after the other, as Rerun's command opens them.
listening = []
for port in sys.argv[1:]:
    time.sleep(0.5 if listening else 0)
    listening.append(socket.create_server(("127.0.0.1", int(port))))
time.sleep(600)
"""


def listen(viewer: Viewer) -> list[str]:
    """Command of a stand-in for Rerun's viewer."""
    return [sys.executable, "-c", LISTENS, *map(str, viewer.ports)]


def photograph(folder: Path) -> Path:
    path = folder / "a.png"
    path.write_bytes(b"only its name is read here")
    return path


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def test_a_screen_gets_a_window_and_no_screen_a_page() -> None:
    assert viewer_here({"DISPLAY": ":0"}, "linux").page == ""
    assert viewer_here({}, "darwin").page == ""
    served = viewer_here({}, "linux")
    assert (
        served.page == f"http://127.0.0.1:{served.web_port}?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A{served.port}%2Fproxy"
    )
    assert "--serve-web" in served.command() and "--serve-web" not in Viewer(1).command()


def test_the_job_gets_the_viewers_address_and_other_pipelines_are_refused(tmp_path: Path) -> None:
    address = Viewer(9876).address
    (plan,) = load_plans([photograph(tmp_path)], Changes(live_viewer=address))
    assert plan.parameters.live_viewer == address
    (unwatched,) = load_plans([photograph(tmp_path)], Changes())
    assert plan.keys == unwatched.keys, "what is up to date would be made again"
    with pytest.raises(SpecError, match=r"--rerun: 'relight': shows nothing while it runs; vistadream does"):
        load_plans([photograph(tmp_path)], Changes(pipeline="relight", live_viewer=address))
    manifest = tmp_path / "job.json"
    manifest.write_text(json.dumps(input_document(photograph(tmp_path))))
    (plan,) = load_plans([manifest], Changes(live_viewer=address))
    assert plan.parameters.live_viewer == address


@pytest.mark.parametrize("environment", [{"DISPLAY": ":0"}, {}], ids=["window", "page"])
def test_a_page_is_served_when_its_address_is_said_and_ends_with_the_command_and_a_window_stays(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = []

    def start(*arguments: object, **options: object) -> object:
        started.append(popen(*arguments, **options))  # type: ignore[call-overload]
        return started[0]

    popen = viewers.subprocess.Popen
    monkeypatch.setattr(viewers.subprocess, "Popen", start)
    monkeypatch.setattr(Viewer, "command", listen)
    viewer = viewer_here(environment, "linux")
    with showing(viewer):
        assert all(map(is_listening, viewer.ports))
    assert is_listening(viewer.port) == (not viewer.page)
    assert (viewer.page or "a window") in capsys.readouterr().err
    started[0].kill()
    started[0].wait()


WAITS = """
import sys
from scenewright.cli.viewer import Viewer, showing
Viewer.command = lambda self: [sys.executable, "-c", sys.argv[3], *sys.argv[1:3]]
with showing(Viewer(int(sys.argv[1]), int(sys.argv[2]))) as wait:
    wait()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_page_stays_until_ctrl_c_or_until_the_terminal_is_closed(number: signal.Signals) -> None:
    viewer = viewer_here({}, "linux")
    command = [sys.executable, "-c", WAITS, *map(str, viewer.ports), LISTENS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        lines = [waiting.stderr.readline() for _ in range(2)]
        assert "until Ctrl-C" in lines[1] and is_listening(viewer.port)
        waiting.send_signal(number)
        assert waiting.wait(10) == 0
    assert not is_listening(viewer.port)


def test_a_viewer_that_does_not_start_is_an_error_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Viewer, "command", lambda self: [sys.executable, "-m", "rerun_is_not_installed"])
    ended = CliRunner().invoke(app, ["run", str(photograph(tmp_path)), "--output", str(tmp_path / "out"), "--rerun"])
    assert ended.exit_code == 10
    assert "--rerun" in ended.output and "No module named rerun_is_not_installed" in ended.output
    assert not (tmp_path / "out").exists()
