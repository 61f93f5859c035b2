"""The `interlock` command: serve, and one module per group of verbs."""
