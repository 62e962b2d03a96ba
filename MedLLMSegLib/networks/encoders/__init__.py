"""Encoders of flat images: ours, EfficientNet-Lite, and those of a folder on disk."""
