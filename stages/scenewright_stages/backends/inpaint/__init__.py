"""Filling holes inside an image (inpaint) or around it (outpaint)."""
