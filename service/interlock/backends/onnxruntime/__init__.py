"""Run ONNX models on ONNX Runtime."""
