"""Capability ``similarity``: similarity of images to texts and to other images."""
