"""Runs a plan. The local executor starts the same processes that a cluster runs in Pods; ``jobs`` builds those Pods."""
