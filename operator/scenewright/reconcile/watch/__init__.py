"""What comes in: informers, the routing of changes to the queue, the sweep, and counters that Pods push."""
