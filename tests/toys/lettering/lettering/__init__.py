"""A training run over a published set of postcards."""
