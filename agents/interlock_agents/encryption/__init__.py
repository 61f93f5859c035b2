"""Files of a model that only those can read who hold a key: their format, and their keys."""
