"""Captures: overlapping photographs with calibrated poses, as other programs write them."""
