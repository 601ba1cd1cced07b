"""In-memory state: projections of objects, Jobs and Pods, claims of outputs, plans, and the observations from them."""
