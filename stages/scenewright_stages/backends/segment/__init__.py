"""Finding a subject and cutting it out."""
