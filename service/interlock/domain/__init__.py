"""The vocabulary of the service: plain values, no I/O, no threads."""
