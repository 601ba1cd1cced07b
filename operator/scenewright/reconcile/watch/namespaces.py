"""Serves namespaces by their labels: asks regularly which have them, so that a new team needs no new installation.

The caches hold all namespaces. What is decided is limited to the selected ones, so that a namespace that loses its
label keeps its Jobs, and one that gets it goes on from what is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from scenewright.kube.client import ApiError, Client
from scenewright.kube.resources import NAMESPACES

logger = logging.getLogger(__name__)

_SECONDS = 30.0


@dataclass(eq=False)
class NamespaceSelection:
    """The namespaces that a label selector selects; all for an empty selector.

    Attributes:
        selector: of labels, such as ``scenewright=served``.
        selected: called with each namespace that is newly selected.
        beat: called as the loop's heartbeat.
    """

    client: Client
    selector: str
    selected: Callable[[str], None]
    beat: Callable[[], None]
    _names: frozenset[str] = frozenset()

    def __contains__(self, namespace: str) -> bool:
        return not self.selector or namespace in self._names

    async def run(self) -> None:
        """Asks again and again; never returns. An API server that does not answer changes nothing."""
        while True:
            self.beat()
            try:
                await self.refresh()
            except ApiError as error:
                logger.warning("the namespaces could not be listed: %s", error)
            await asyncio.sleep(_SECONDS)

    async def refresh(self) -> None:
        """Asks once.

        Raises:
            ApiError: the namespaces could not be listed.
        """
        names: set[str] = set()
        async for page in self.client.pages(NAMESPACES, labelSelector=self.selector):
            names |= {str(each["metadata"]["name"]) for each in page.get("items") or ()}
        added, self._names = names - self._names, frozenset(names)
        for name in sorted(added):
            self.selected(name)
