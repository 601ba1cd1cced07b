"""Requests to the API server, for the operator and for the commands on a cluster: one way for both."""
