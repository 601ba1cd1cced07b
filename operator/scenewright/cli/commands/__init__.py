"""One module a command: what it does, apart from its options."""
