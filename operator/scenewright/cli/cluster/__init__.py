"""Objects in a cluster, as their users see them; the operator's own access is elsewhere."""
