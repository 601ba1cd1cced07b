"""What the pipelines of scenes share: from the photograph at working size to the flight, its files and its page."""
