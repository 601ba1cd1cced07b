"""Models that find cameras and depth of several pictures of one place."""
