"""Backends of ``fix``."""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts

BACKENDS = (
    BackendFacts(
        name="classic",
        capability="fix",
        family="classic",
        implementation="scenewright_stages.backends.fix.classic:ClassicFixer",
        notes="A small network that a TuningRun trained from scratch on pairs of artefact and photograph; it invents "
        "nothing that neither the render nor the reference shows.",
        options={"checkpoint": ()},
    ),
)
