"""Shows a scene in a live Rerun viewer while the stages work on it.

Each stage process sends its data under the sample's recording id, and the viewer joins them. ``scene.rrd`` is written
separately (:mod:`scenewright_stages.scenes.rerun`). A viewer never fails a run: after one failure or timeout the
process logs it and sends nothing more.
"""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import replace
from urllib.parse import urlsplit

from scenewright_stages.scenes.recorded import RerunScene, RerunView

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
"""How long a stage waits for a viewer to answer."""

PATIENCE_SECONDS = 10.0
"""How long it waits for a viewer to take what it sends."""


class LiveViewer:
    """A viewer at an address such as ``rerun+http://10.0.0.5:9876/proxy``; an empty address disables it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._sent: set[tuple[str, str, str]] = set()

    @property
    def watches(self) -> bool:
        """Whether a viewer is connected."""
        return bool(self._address)

    def show(self, scene: RerunScene) -> None:
        """Sends new views, and the current splats and frames.

        A failure disables the viewer.
        """
        try:
            # The SDK itself would retry for seconds and log every attempt.
            place = urlsplit(self._address)
            socket.create_connection((place.hostname, place.port), CONNECT_SECONDS).close()
            self._send(scene)
        except (OSError, RuntimeError, ValueError) as error:
            log.warning("The Rerun viewer at %s gets nothing more: %s", self._address, error)
            self._address = ""

    def _send(self, scene: RerunScene) -> None:
        import rerun as rr

        from scenewright_stages.scenes.rerun import APPLICATION_ID, frustum_size, layout, log_scene

        recording = rr.RecordingStream(APPLICATION_ID, recording_id=scene.recording_id, send_properties=False)
        try:
            recording.connect_grpc(self._address)
            recording.send_blueprint(layout(scene))
            log_scene(recording, self._unsent(scene), frustum_size(scene))
            recording.flush(timeout_sec=PATIENCE_SECONDS)
        finally:
            # Closing or dropping a recording blocks, without a timeout, until the viewer has received all of it.
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
