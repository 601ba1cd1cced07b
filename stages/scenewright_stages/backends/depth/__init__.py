"""Capability ``depth``: the depth of an image."""
