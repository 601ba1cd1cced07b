"""Carrying out a plan: the local executor starts the very processes that a cluster runs in Pods."""
