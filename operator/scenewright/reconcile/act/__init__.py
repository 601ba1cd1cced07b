"""What is done: the queue and its workers, actions, inspections, Events, and the Lease that guards all of them."""
