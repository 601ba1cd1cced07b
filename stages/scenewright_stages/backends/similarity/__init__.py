"""Models that say how well a picture suits a text, or another picture."""
