"""Shows a scene in a Rerun viewer while the stages work on it.

Each stage process sends its data under the sample's recording id, and the viewer joins them. ``scene.rrd`` is written
separately (:mod:`scenewright_stages.scenes.rerun`). A viewer never fails a run: after one failure or timeout it gets
nothing more, and the log says so.
"""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import replace
from urllib.parse import urlsplit

import rerun as rr

from scenewright_stages.scenes.rerun import (
    APPLICATION_ID,
    RerunScene,
    RerunView,
    frustum_size,
    layout,
    log_scene,
)

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
"""How long a stage waits for a viewer to answer."""

PATIENCE_SECONDS = 10.0
"""How long it waits for a viewer to take what it sends."""


class LiveViewer:
    """A viewer at an address such as ``rerun+http://10.0.0.5:9876/proxy``; with an empty one nothing is sent."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._sent: set[tuple[str, str, str]] = set()

    @property
    def watches(self) -> bool:
        """Whether there is somebody to show anything to."""
        return bool(self._address)

    def show(self, scene: RerunScene) -> None:
        """Sends the views that this process has not sent yet, and the splats and frames as they are now.

        After a failure nobody watches any more.
        """
        try:
            # The SDK itself would try again for seconds, and log each time.
            place = urlsplit(self._address)
            socket.create_connection((place.hostname, place.port), CONNECT_SECONDS).close()
            self._send(scene)
        except (OSError, RuntimeError, ValueError) as error:
            log.warning("The Rerun viewer at %s gets nothing more: %s", self._address, error)
            self._address = ""

    def _send(self, scene: RerunScene) -> None:
        recording = rr.RecordingStream(APPLICATION_ID, recording_id=scene.recording_id, send_properties=False)
        try:
            recording.connect_grpc(self._address)
            recording.send_blueprint(layout(scene))
            log_scene(recording, self._unsent(scene), frustum_size(scene))
            recording.flush(timeout_sec=PATIENCE_SECONDS)
        finally:
            # Closing a recording waits until the viewer has taken all of it, without a limit. So does dropping it.
            threading.Thread(target=recording.disconnect, name="viewer-close", daemon=True).start()

    def _unsent(self, scene: RerunScene) -> RerunScene:
        def new(tab: str, views: tuple[RerunView, ...]) -> tuple[RerunView, ...]:
            names = {(scene.recording_id, tab, view.name): view for view in views}
            unsent = tuple(view for name, view in names.items() if name not in self._sent)
            self._sent |= names.keys()
            return unsent

        return replace(
            scene,
            initial_views=new("initialization", scene.initial_views),
            coarse_views=new("coarse", scene.coarse_views),
        )
