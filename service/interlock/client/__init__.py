"""Connection settings and calls for the command line."""
