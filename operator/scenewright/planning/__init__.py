"""Turns a manifest into a plan. Pure functions without I/O, used by the operator and by the command line."""
