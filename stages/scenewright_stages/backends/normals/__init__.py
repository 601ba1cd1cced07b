"""Which way a surface faces."""
