"""Finds the same points in photographs of one place with small learned networks."""
