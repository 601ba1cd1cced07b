"""Fixers: pictures of a Gaussian scene without its artefacts, with the help of a photograph from nearby."""
