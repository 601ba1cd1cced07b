"""A surface to stand on: depth of many views of a Gaussian scene, fused in voxels and turned into triangles."""
