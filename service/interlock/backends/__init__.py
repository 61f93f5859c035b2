"""What runs a batch: one package per runtime."""
