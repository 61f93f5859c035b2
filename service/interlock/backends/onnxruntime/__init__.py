"""The ONNX Runtime backend: `.onnx` files on the CPU. The only place that imports the runtime."""

import os

# From 1.31 on the runtime keeps a record of the models that it loads, their names and what was
# wrong with them included, in the user's cache, and sends it to its maker. It looks here when it
# is imported, which the modules of this package do.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
