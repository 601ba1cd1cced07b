"""Single pictures: reading, colour, resampling, mattes, albedo, inpainting, metrics and video.

Arrays are (H, W, 3) float32 in [0, 1]; names say `srgb` or `linear`. Nothing here knows a camera.
"""
