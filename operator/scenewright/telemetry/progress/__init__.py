"""The endpoint to which stage Pods push counters. They are authenticated, only advisory, and dropped after the run."""
