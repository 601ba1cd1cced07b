"""Generators that draw a place from cameras where nobody took a photograph."""
