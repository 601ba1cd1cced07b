"""Capability ``caption``: describing an image in words."""
