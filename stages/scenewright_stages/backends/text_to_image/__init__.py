"""Models that draw a picture from a text."""
