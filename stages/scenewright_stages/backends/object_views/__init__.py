"""Showing a thing from other sides."""
