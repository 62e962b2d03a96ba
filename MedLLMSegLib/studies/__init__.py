"""Experiments: arms with their controls, and the pages that they fill."""
