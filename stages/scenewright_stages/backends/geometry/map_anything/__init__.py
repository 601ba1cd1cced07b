"""MapAnything (Keetha et al. 2025): metric depth and cameras of pictures; the code here reads the published weights."""
