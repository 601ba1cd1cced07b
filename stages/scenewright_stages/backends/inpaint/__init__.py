"""Capabilities ``inpaint`` and ``outpaint``: filling holes inside an image or around it."""
