"""Writes the status, and derives metrics from it."""
