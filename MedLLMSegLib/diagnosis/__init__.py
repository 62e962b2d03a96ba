"""From an image to probabilities of classes, and where in the image they come from.

`predict.py` has the public function `diagnose`, and `result.py` what it returns. `inputs/` reads a
user's files, `heat_map.py` is Grad-CAM, `classifier_bundle.py` and its neighbours are the model on
disk, and `batch/` does many images.
"""
