"""Watches the cluster: informers, the routing of changes to the queue, and the periodic sweep."""
