"""A stage step: fetches ahead, runs the stage on each sample, checks and uploads its outputs, and writes records."""
