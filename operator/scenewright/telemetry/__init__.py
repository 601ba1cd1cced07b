"""The operator's metrics and probes, and the endpoint to which stage Pods push their progress."""
