"""A pipeline of postcards made of words."""
