"""Access of the commands to objects in a cluster, with the user's own rights."""
