"""Shared by the pipelines over photographs: image I/O, compositing, parameters, and the data set's report page."""
