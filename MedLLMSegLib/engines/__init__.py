"""Networks as graphs that OpenVINO or ONNX Runtime runs, without torch."""
