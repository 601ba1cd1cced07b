"""Where the API server is and who we are: the official client's configuration, and its two pools of connections."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from scenewright.kube.resources import USER_AGENT

Renew = Callable[[], Awaitable[None]]
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Connection:
    """Connections with current credentials; to be made while the event loop runs.

    Args:
        configuration: the official client's.
        namespace: that requests are about where nobody names another.
        renew: reads the credentials again, as after a 401.

    Attributes:
        requests: pool for requests.
        watches: pool for watches: they are held for minutes, and a full pool keeps everything else waiting.
    """

    def __init__(self, configuration: Configuration, namespace: str = "default", renew: Renew | None = None) -> None:
        configuration.client_session_kwargs = {
            # The API server sets none, and looking for them is a fifth of what a request costs.
            "cookie_jar": aiohttp.DummyCookieJar(),
            # Compressing costs both sides more than the wire does inside a cluster.
            "headers": {"Accept-Encoding": "identity"},
        }
        self.configuration = configuration
        self.namespace = namespace
        self._renew = renew
        self.requests, self.watches = ApiClient(configuration), ApiClient(configuration)
        self.requests.user_agent = self.watches.user_agent = USER_AGENT

    async def renew(self) -> None:
        """Reads the credentials again; the connections stay."""
        if self._renew is not None:
            await self._renew()

    async def close(self) -> None:
        """Closes both pools."""
        await self.requests.close()
        await self.watches.close()


async def connect(context: str = "") -> Connection:
    """A connection with the credentials of the kubeconfig, or of the Pod's account where there is no kubeconfig.

    Args:
        context: of the kubeconfig; empty: its current one.

    Raises:
        config.ConfigException: there are no credentials, or no such context.
    """
    configuration = Configuration()
    given = os.environ.get("KUBECONFIG") or Path(config.KUBE_CONFIG_DEFAULT_LOCATION).expanduser().exists()
    if not given and _POD_NAMESPACE.exists():

        async def read_token() -> None:
            config.load_incluster_config(client_configuration=configuration)

        await read_token()
        return Connection(configuration, _POD_NAMESPACE.read_text(encoding="utf-8").strip(), read_token)
    files = [Path(each).expanduser() for each in config.KUBE_CONFIG_DEFAULT_LOCATION.split(os.pathsep)]
    if not any(file.exists() for file in files):
        raise config.ConfigException("no such file")
    chosen = _context(context)
    loader = await config.load_kube_config(context=chosen["name"], client_configuration=configuration)

    async def read_again() -> None:
        # Also runs a credential plugin again.
        await loader.load_and_set(configuration)

    return Connection(configuration, chosen["context"].get("namespace") or "default", read_again)


def _context(name: str) -> dict[str, Any]:
    contexts, active = config.list_kube_config_contexts()
    chosen: dict[str, Any] | None = next((each for each in contexts if each["name"] == name), None)
    if found := chosen if name else active:
        return found
    names = ", ".join(each["name"] for each in contexts)
    raise config.ConfigException(f"no context {name!r}: there are {names}")
