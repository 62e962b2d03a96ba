"""Networks that answer with one of several classes."""
