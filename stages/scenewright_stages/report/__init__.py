"""Drawing report pages: what the pages of all pipelines have in common."""
