"""Exports a finished scene: files for other programs, a surface to stand on, and ground truth along a path."""
