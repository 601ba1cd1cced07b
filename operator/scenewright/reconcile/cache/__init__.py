"""What is known: projections of objects, Jobs and Pods, claims of outputs, plans, and the view of one object."""
