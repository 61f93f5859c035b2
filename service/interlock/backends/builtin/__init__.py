"""Backends that need no runtime."""
