"""The training of a classifier: from labelled images to a bundle."""
