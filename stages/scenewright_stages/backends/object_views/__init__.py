"""Capability ``object-views``: views of an object from other sides."""
