"""A gRPC-only inference server that changes models in the middle of traffic."""

from typing import Final

# Kept equal to the version in pyproject.toml by a test: asking importlib.metadata would cost
# every start of the command line some fifty milliseconds.
__version__: Final = "0.1.0"
