"""How a segmenter is trained on these cases: what they are like, and the plan made of it."""
