"""Capability ``locate``: finding the object of one photo in other images."""
