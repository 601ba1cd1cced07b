"""Shared by the scene pipelines: photograph preparation, frames, the flight, its files and the report page."""
