"""Bring what is served in line with what is aspired."""
