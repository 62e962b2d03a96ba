"""The parts of the segmentation networks, and the one function that puts them together."""
