"""Lung nodules found and outlined in chest CT: inserted ones to learn and to count, two real ones
to look at. A study; its models do not ship.
"""
