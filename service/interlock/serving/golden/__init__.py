"""Golden requests: what a version must answer before anybody else may ask it."""
