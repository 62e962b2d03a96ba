"""From an image to probabilities of classes, and where in the image they come from.

`about.py` (what a classifier says of itself), `bundle.py` and `card.py` (on disk), `model.py`
(ready to run), `checks.py` (what may be given to it), `given.py` (a user's files as a batch),
`heat_map.py`, `predict.py` (`diagnose`, the public function), `answer.py` (what it returns),
`overlay.py` (the map as a picture).
"""
