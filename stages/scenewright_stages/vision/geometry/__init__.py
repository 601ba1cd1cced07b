"""Cameras and depth: poses, projection, warping, camera paths, depth maps and normals.

Poses are `world_from_camera` or `camera_from_world` in OpenCV axes, depth is z-depth in metres, and pixel centres lie
at +0.5.
"""
