"""Access to the API server: connection, requests, and informers. Nothing here knows what the operator is for."""
