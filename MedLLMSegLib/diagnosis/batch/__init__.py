"""Many images to probabilities, heat maps and a table."""
