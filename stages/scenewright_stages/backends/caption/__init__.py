"""Describing a picture in words."""
