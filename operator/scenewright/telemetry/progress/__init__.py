"""The endpoint to which stage Pods push their counters: advisory, authenticated offline, forgotten when a run ends."""

from scenewright.telemetry.progress.endpoint import ProgressEndpoint
from scenewright.telemetry.progress.keys import SigningKeys
from scenewright.telemetry.progress.store import KnownPod, ProgressStore
from scenewright.telemetry.progress.tokens import PodIdentity, RefusedPush, TokenVerifier

__all__ = [
    "KnownPod",
    "PodIdentity",
    "ProgressEndpoint",
    "ProgressStore",
    "RefusedPush",
    "SigningKeys",
    "TokenVerifier",
]
