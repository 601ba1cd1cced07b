"""Finds the object of one photo in other images: by its edges and colours, then by a graph cut."""
