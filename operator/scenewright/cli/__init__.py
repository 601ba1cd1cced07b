"""The command line; everything but the option definitions is imported when a command needs it."""
