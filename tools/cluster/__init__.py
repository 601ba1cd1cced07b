"""Test environments: a control plane with simulated nodes, and a complete one-node cluster.

See docs/test-environments.md.
"""

from .audit import AuditLog, Request
from .control_plane import ControlPlane, Settings
from .fault_proxy import FaultProxy, Faults
from .problems import DidNotStart, Unavailable
from .simulation import Behaviour

__all__ = [
    "AuditLog",
    "Behaviour",
    "ControlPlane",
    "DidNotStart",
    "FaultProxy",
    "Faults",
    "Request",
    "Settings",
    "Unavailable",
]
