"""Capability ``geometry``: cameras and depth from several images of one place."""
