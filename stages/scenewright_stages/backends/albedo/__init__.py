"""Capability ``albedo``: colours without lighting."""
