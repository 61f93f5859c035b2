"""Threading building blocks that know nothing of models."""
