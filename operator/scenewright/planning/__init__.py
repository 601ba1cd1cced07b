"""From a manifest to a plan: pure functions, no input or output but their arguments and results."""
