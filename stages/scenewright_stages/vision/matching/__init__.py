"""Finds an object of one photo in other pictures: by its edges and colours, then by a graph cut."""
