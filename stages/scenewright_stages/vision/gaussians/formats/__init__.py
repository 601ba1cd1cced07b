"""Gaussian scenes in the files of other programs: pure codecs and the one process that runs a foreign writer.

Every format that `scenewright export` writes has a reader here, which is a second program to the one that wrote it.
"""
