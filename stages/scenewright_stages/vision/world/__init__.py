"""Worlds seen from one point: panoramas, their layout, paths out of the middle, and what is seen from there."""
