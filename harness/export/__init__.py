"""A finished run's model, loaded again and written as one ONNX file."""
