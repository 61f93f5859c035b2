"""Set-up, checks, generation and measurement: runnable, and imported by nothing but their tests."""
