"""When a request runs, and with which others."""
