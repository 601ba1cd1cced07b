"""The index step: reads the input, lists its samples, and writes the worklists of the run."""
