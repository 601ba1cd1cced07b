"""Colours without the light that fell on them."""
