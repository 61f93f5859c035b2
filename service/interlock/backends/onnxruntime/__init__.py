"""The ONNX Runtime backend: `.onnx` files on the CPU. The only place that imports the runtime."""
