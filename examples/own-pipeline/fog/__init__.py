"""A pipeline of three stages: photographs in fog."""
