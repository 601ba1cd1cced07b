"""Connects to the API server: the official client's configuration and its two connection pools."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from scenewright.api.raw import Json
from scenewright.kube.resources import USER_AGENT

Renew = Callable[[], Awaitable[None]]
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Connection:
    """Connections with current credentials. Must be created while the event loop runs.

    `renew` reloads the credentials, for example after a 401. Watches have a pool of their own, since they hold their
    connections for minutes and would block requests.
    """

    def __init__(self, configuration: Configuration, namespace: str = "default", renew: Renew | None = None) -> None:
        configuration.client_session_kwargs = {
            # The API server sets no cookies, and handling them is a fifth of a request's cost.
            "cookie_jar": aiohttp.DummyCookieJar(),
            # Within a cluster, compression costs more than it saves.
            "headers": {"Accept-Encoding": "identity"},
            # aiohttp would look for a proxy and in .netrc for each request, in two threads: a sixth of our CPU time.
            "trust_env": False,
        }
        host = urlsplit(configuration.host)
        if not configuration.proxy and not proxy_bypass(host.hostname or ""):
            configuration.proxy = getproxies().get(host.scheme)
        self.configuration = configuration
        self.namespace = namespace
        self._renew = renew
        self.requests, self.watches = ApiClient(configuration), ApiClient(configuration)
        self.requests.user_agent = self.watches.user_agent = USER_AGENT

    async def renew(self) -> None:
        """Reloads the credentials; open connections stay."""
        if self._renew is not None:
            await self._renew()

    async def close(self) -> None:
        await self.requests.close()
        await self.watches.close()


async def connect(context: str = "") -> Connection:
    """A connection with the kubeconfig's credentials, or with the Pod's service account if there is no kubeconfig.

    Args:
        context: of the kubeconfig; empty for the current one.

    Raises:
        config.ConfigException: there are no credentials, or no such context.
    """
    configuration = Configuration()
    # The client library reads the variable when it is imported; a program may set it later.
    named = os.environ.get("KUBECONFIG", "")
    files = [
        Path(each).expanduser() for each in (named or config.KUBE_CONFIG_DEFAULT_LOCATION).split(os.pathsep) if each
    ]
    exists = any(file.exists() for file in files)
    if not named and not exists and _POD_NAMESPACE.exists():

        async def read_token() -> None:
            config.load_incluster_config(client_configuration=configuration)

        await read_token()
        return Connection(configuration, _POD_NAMESPACE.read_text(encoding="utf-8").strip(), read_token)
    if not exists:
        raise config.ConfigException("no such file")
    location = os.pathsep.join(map(str, files))
    chosen = _context(location, context)
    loader = await config.load_kube_config(location, context=chosen["name"], client_configuration=configuration)

    async def read_again() -> None:
        # This also reruns a credential plugin.
        await loader.load_and_set(configuration)

    return Connection(configuration, chosen["context"].get("namespace") or "default", read_again)


def _context(location: str, name: str) -> Json:
    contexts, active = config.list_kube_config_contexts(location)
    chosen: Json | None = next((each for each in contexts if each["name"] == name), None)
    if found := chosen if name else active:
        return found
    names = ", ".join(each["name"] for each in contexts)
    raise config.ConfigException(f"no context {name!r}: there are {names}")
