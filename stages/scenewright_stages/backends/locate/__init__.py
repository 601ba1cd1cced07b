"""Finding the object of one photo in other pictures."""
