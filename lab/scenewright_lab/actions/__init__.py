"""What a person can do on the page: start, retry, stop and pick."""
