"""kopf, without the official Kubernetes client.

kopf loads the client where it is installed, to know its classes when it meets them. Nothing in an operator process uses
it, and with what it needs it takes 11 MB.
"""

from __future__ import annotations

import sys

_CLIENT = "kubernetes"
_hidden = _CLIENT not in sys.modules
if _hidden:
    # Python takes None for a module that is not installed.
    sys.modules[_CLIENT] = None  # type: ignore[assignment]
try:
    import kopf
finally:
    if _hidden:
        del sys.modules[_CLIENT]

__all__ = ["kopf"]
