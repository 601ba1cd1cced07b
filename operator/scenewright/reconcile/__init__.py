"""The reconciler: ``watch`` and ``cache`` observe, ``decide`` is pure, ``act`` and ``status`` write to the cluster."""
