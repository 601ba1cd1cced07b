"""Capability ``novel-views``: generating views of a place from new cameras."""
