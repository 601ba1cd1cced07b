"""Worlds seen from one centre: panoramas, their layout, paths out of the centre, and the views along them."""
