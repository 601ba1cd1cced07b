"""Capability ``normals``: surface normals."""
