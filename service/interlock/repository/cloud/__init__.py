"""Model repositories in object stores, mirrored into a private folder of this machine."""
