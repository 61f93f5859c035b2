"""Statistics and logs."""
