"""From an ONNX file to named arrays: by its initializers' names, or by comparing its network with a graph."""
