"""Capability ``segment``: finding a subject and cutting it out."""
