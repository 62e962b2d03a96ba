"""Packages and licences: what is missing, what it costs, and how it is installed."""
