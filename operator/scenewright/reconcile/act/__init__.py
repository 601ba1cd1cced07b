"""Acts on the cluster: the work queue and its workers, actions, inspections, Events, and the Lease that guards them."""
