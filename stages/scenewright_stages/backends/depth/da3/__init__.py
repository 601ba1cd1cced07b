"""Depth Anything 3: network, checkpoint and estimator."""
