"""Capability ``edit``: changing an image by an instruction."""
