"""The client of the API server, used by the operator and by the commands on a cluster."""
