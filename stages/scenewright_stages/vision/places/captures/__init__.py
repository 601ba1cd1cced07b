"""Captures: overlapping photographs with calibrated poses, written by other programs."""
