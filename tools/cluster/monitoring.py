"""Runs Debian's Prometheus, with a list of targets, since that build has no Kubernetes discovery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .processes import Component, ProcessGroup, accepts_connections

START_SECONDS = 30.0
ALERTS = Path(__file__).resolve().parents[2] / "charts" / "scenewright" / "files" / "alerts"


class Prometheus:
    """A Prometheus of our own.

    Args:
        folder: configuration and data.
    """

    def __init__(self, folder: Path, address: str, port: int) -> None:
        self.url = f"http://{address}:{port}"
        self._folder = folder
        self._address = address
        self._port = port

    def start(self, group: ProcessGroup) -> Component:
        """Starts it and waits until it listens."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.scrape({})
        file = self._folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(self._configuration()))
        command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={self._folder / 'data'}"]
        component = group.start("prometheus", [*command, f"--web.listen-address={self._address}:{self._port}"])
        component.wait_until(lambda: accepts_connections(self._address, self._port), START_SECONDS)
        return component

    def scrape(self, targets: Mapping[str, Mapping[str, str]]) -> None:
        """Replaces the targets (``host:port``) and their labels."""
        entries = [{"targets": [target], "labels": dict(labels)} for target, labels in targets.items()]
        # Rename the file into place, because Prometheus watches it.
        fresh = self._folder / "targets.new"
        fresh.write_text(json.dumps(entries))
        fresh.rename(self._folder / "targets.json")

    def _configuration(self) -> dict[str, Any]:
        files = [{"files": [str(self._folder / "targets.json")], "refresh_interval": "2s"}]
        # As in the chart's ServiceMonitor: the label `namespace` is the object's, not the operator's.
        job = {"job_name": "scenewright", "honor_labels": True, "file_sd_configs": files}
        return {
            "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
            "rule_files": [str(ALERTS / "*.yaml")],
            "scrape_configs": [job],
        }
