"""Ends the containers that a mesh has injected into the Pod: beside a running proxy, a Pod never ends.

Native sidecars need none of this: Kubernetes ends them. The process posts to the addresses just before it exits; one
that is killed cannot, and the operator reports the container that is left.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Mapping

from scenewright_stages.contract.task import QUIT_URLS_ENVIRONMENT

_SECONDS = 2.0


def end_sidecars(environment: Mapping[str, str]) -> None:
    """Posts to all addresses; a failure is printed and ends nothing."""
    # A proxy for the internet must not get requests to this Pod itself.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for url in environment.get(QUIT_URLS_ENVIRONMENT, "").split():
        try:
            direct.open(urllib.request.Request(url, method="POST", data=b""), timeout=_SECONDS).close()
        except (OSError, ValueError) as problem:
            print(f"{url} did not end: {problem}", file=sys.stderr, flush=True)
