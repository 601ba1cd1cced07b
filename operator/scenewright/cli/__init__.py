"""The command line. Only the option definitions are imported at startup; commands import what they need."""
