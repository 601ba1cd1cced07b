"""The reconciler: observe, plan (pure), act, in this order; each module says which of them it is."""
