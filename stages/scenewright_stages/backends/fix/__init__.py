"""Capability ``fix``: removes artefacts from renders of a Gaussian scene, guided by a nearby photograph."""
