"""Capability ``text-to-image``: generating an image from a text."""
