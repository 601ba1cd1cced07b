"""Renders report pages: the part that the pages of all pipelines have in common."""
