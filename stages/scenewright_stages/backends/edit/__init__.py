"""Changing a picture as an instruction says."""
