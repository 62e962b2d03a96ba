"""From an image to probabilities of classes, and where in the image they come from.

`about.py` (what a classifier says of itself), `bundle.py` and `card.py` (on disk), `model.py` (ready to run), `checks.py`
(what may be given to it), `heat_map.py`, `predict.py` (`diagnose`, the public function), `files.py` (results on disk).
"""
