"""Renders the Helm chart: finds helm, and skips with the reason where there is none (never in CI)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "scenewright"
KUBERNETES = "1.34.0"
EVERYTHING = {
    "metrics.serviceMonitor.enabled": "true",
    "metrics.prometheusRule.enabled": "true",
    "metrics.dashboards.enabled": "true",
    "metrics.annotations": "true",
    "networkPolicy.enabled": "true",
    "networkPolicy.storageCIDRs": "{10.1.0.0/16}",
    "networkPolicy.apiServerCIDRs": "{10.2.0.1/32}",
    "networkPolicy.egress.language-model.cidrs": "{10.3.0.0/16,fd00::/8}",
    "networkPolicy.egress.language-model.ports": "{8443}",
    "argocd.healthConfigMap": "true",
    "trialStorage.enabled": "true",
    "trialStorage.secretKey": "long-enough",
    "kueue.enabled": "true",
    "lab.enabled": "true",
    "lab.storage.secretName": "lab-s3",
    "watchNamespaces": "{lab-a,lab-b}",
}
"""Options that switch every template on."""

Object = dict[str, Any]


class RenderError(Exception):
    """Helm refused; the message is its own."""


def helm() -> str:
    """Path of the helm binary: of PATH, or of the cache of built tools."""
    return _tool("helm", "helm-*/helm", "run `make cluster` once, which builds it")


def promtool() -> str:
    """Path of promtool."""
    return _tool("promtool", "prometheus-*/promtool", "apt-get install prometheus")


def render(
    options: dict[str, str] | None = None, release: str = "scenewright", namespace: str = "system"
) -> list[Object]:
    """The chart's objects.

    Raises:
        RenderError: helm or the schema of the values refuses.
    """
    text = _run("template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBERNETES, *_set(options))
    return [document for document in yaml.safe_load_all(text) if document]


def notes(folder: Path, options: dict[str, str] | None = None) -> str:
    """What an install prints; helm shows it only with a cluster, so here it is rendered as one more template."""
    copy = folder / "chart"
    shutil.copytree(CHART, copy)
    shutil.move(copy / "templates" / "NOTES.txt", copy / "NOTES.txt")
    (copy / "templates" / "notes.yaml").write_text('notes: {{ tpl (.Files.Get "NOTES.txt") . | quote }}\n')
    arguments = ("scenewright", str(copy), "--namespace", "system", "--kube-version", KUBERNETES, *_set(options))
    rendered = yaml.safe_load(_run("template", *arguments, "--show-only", "templates/notes.yaml"))
    return str(rendered["notes"])


def named(objects: list[Object], kind: str, name: str = "", namespace: str = "") -> Object:
    """The one object of this kind (and name, and namespace)."""
    found = [
        each
        for each in objects
        if each["kind"] == kind
        and name in ("", each["metadata"]["name"])
        and namespace in ("", each["metadata"].get("namespace"))
    ]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name}"
    return found[0]


def _set(options: dict[str, str] | None) -> list[str]:
    return [word for name, value in (options or {}).items() for word in ("--set", f"{name}={value}")]


def _run(*arguments: str) -> str:
    done = subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(done.stderr)
    return done.stdout


def _tool(name: str, pattern: str, remedy: str) -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scenewright" / "bin"
    found = shutil.which(name) or next((str(path) for path in sorted(cache.glob(pattern))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing in CI: {remedy}")
        pytest.skip(f"{name} is missing: {remedy}")
    return found
