"""Scenes for product photographs: a table top before a 360-degree photograph that lights all that stands on it.

World axes: x to the right, y up, z away from the camera; the table is y = 0 and the object stands at the origin. One
unit is one pixel of the image where the object stands. All colours are linear.
"""
