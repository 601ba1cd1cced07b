"""The registry of backends by capability, and the licence check.

Backends are discovered: every folder of this package with a ``facts.py`` adds its ``BACKENDS``, and a pipeline adds its
``Pipeline.backends``. The planner, the worker and ``scenewright models`` use the registry, so this module imports
neither torch nor numpy; implementations are import strings that :mod:`scenewright_stages.backends.runtime.loading`
resolves inside a stage.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache

from scenewright_stages import backends as package
from scenewright_stages.backends.runtime.errors import LicenceNotAccepted, UnknownBackend, UnknownCapability
from scenewright_stages.contract.backends import BackendFacts, Weights, licence_need
from scenewright_stages.pipelines import pipelines

log = logging.getLogger(__name__)


def capabilities() -> tuple[str, ...]:
    """Names of the capabilities that have at least one backend, in a fixed order."""
    return tuple(dict.fromkeys(facts.capability for facts in backends()))


def backends(capability: str | None = None) -> tuple[BackendFacts, ...]:
    """The backends of one capability (None: of all), built-in ones first and classic before models.

    Raises:
        UnknownCapability: no backend offers ``capability``.
    """
    everything = (*_built_in(), *_declared())
    if capability is None:
        return everything
    found = tuple(facts for facts in everything if facts.capability == capability)
    if not found:
        raise UnknownCapability("capability", capability, capabilities())
    return found


def find_backend(capability: str, name: str) -> BackendFacts | None:
    """The backend that serves ``capability`` under ``name``, or None."""
    for source in (_built_in, _declared):
        for facts in source():
            if (facts.capability, facts.name) == (capability, name):
                return facts
    return None


def backend(capability: str, name: str, field: str | None = None) -> BackendFacts:
    """The backend that serves ``capability`` under ``name``.

    Args:
        capability: one of :func:`capabilities`.
        name: the backend's name as the spec gives it.
        field: path of the spec field that named it, for the error; default ``<capability>.backend``.

    Raises:
        UnknownCapability: no backend offers ``capability``.
        UnknownBackend: no backend of that name offers it; the error lists the allowed names.
    """
    found = find_backend(capability, name)
    if found is None:
        allowed = [facts.name for facts in backends(capability)]
        raise UnknownBackend(field or f"{capability}.backend", name, allowed)
    return found


def check_licence(facts: BackendFacts, variant: str | None, accepted: Iterable[str]) -> tuple[Weights, ...]:
    """Returns a backend's weights if every licence, of its method too, is permissive or accepted by name.

    Args:
        facts: the backend.
        variant: which of its weights; None means its default.
        accepted: the licence tags that the spec accepts (``models.acceptLicenses``).

    Returns:
        The sets of weights; empty for a backend without weights.

    Raises:
        UnknownVariant: the backend has no such weights.
        LicenceNotAccepted: names the licence, its URL and the field to set.
    """
    accepted = frozenset(accepted)
    sets = facts.weights_of(variant)
    for each in facts.licensed(variant):
        if licence_need(each).needed and each.licence not in accepted:
            kind = "method" if each is facts.formula else "weights"
            raise LicenceNotAccepted(each.licence, each.licence_url, each.id, sorted(accepted), kind)
    return sets


def built_in(capability: str) -> tuple[BackendFacts, ...]:
    """The built-in backends of a capability: what the parameters of the built-in pipelines can name."""
    return tuple(facts for facts in _built_in() if facts.capability == capability)


@cache
def _built_in() -> tuple[BackendFacts, ...]:
    """The facts of every capability folder, in the order of the folders' names; classic before models."""
    found: list[BackendFacts] = []
    for folder in sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg):
        name = f"{package.__name__}.{folder}.facts"
        if importlib.util.find_spec(name) is not None:
            stated = importlib.import_module(name).BACKENDS
            places = list(dict.fromkeys(facts.capability for facts in stated))
            found += sorted(stated, key=lambda facts: (places.index(facts.capability), facts.family))
    return tuple(found)


def _declared() -> Iterator[BackendFacts]:
    """The backends that usable pipelines declare."""
    known = {(facts.capability, facts.name): facts for facts in _built_in()}
    for name, found in pipelines().items():
        for facts in found.backends:
            first = known.setdefault((facts.capability, facts.name), facts)
            if first is facts:
                yield facts
            elif first != facts:
                log.warning("pipeline %s: its %s backend %s is already taken", name, facts.capability, facts.name)
