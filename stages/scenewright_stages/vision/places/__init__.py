"""Places that a camera moves through: posed captures of real ones, and worlds made from a panorama.

`captures` reads photographs with poses, or estimates the poses. `worlds` turns panoramas into depth, meshes and
surfels.
"""
