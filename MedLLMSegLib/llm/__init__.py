"""Layers of pretrained language models: find, verify, read and run them."""
