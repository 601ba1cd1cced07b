"""Scenes for product photographs: a table top in front of a 360-degree photograph, which is also the light source.

World axes: x to the right, y up, z away from the camera; the table is y = 0 and the object stands at the origin. One
unit is one image pixel at the object's position. All colours are linear.
"""
