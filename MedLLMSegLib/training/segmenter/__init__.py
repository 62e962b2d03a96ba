"""The training of a segmenter: from labelled cases to a bundle."""
