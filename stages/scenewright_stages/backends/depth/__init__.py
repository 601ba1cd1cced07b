"""The depth of an image."""
