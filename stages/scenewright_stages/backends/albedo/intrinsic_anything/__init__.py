"""IntrinsicAnything (Chen et al. 2024) from its published training checkpoint."""
