"""The model cache: weights on disk, how they get there, and where they come from."""
