"""From a graph's operations to ONNX nodes."""
