"""The model cache: locating weights on disk, filling the cache, and the sources of weights."""
