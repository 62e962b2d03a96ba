"""What the arms and files of the study are called; light, for its command and its page."""

from __future__ import annotations

PAGE, RESULTS, PICTURE = "emboli.md", "emboli-results.json", "images/emboli.png"
SIDES = ("left", "right")  # of the patient
BASELINE = "low-hu"
OURS = "cnn-lstm"
# Arm -> how its network reads the slices.
READS = {OURS: "lstm", "cnn-mean": "mean", "cnn-slice": "middle"}
ARMS = {
    OURS: "CNN on nine slices, read by an LSTM",
    BASELINE: "trivial: the volume of clot-like HU within the vessels",
    "cnn-mean": "the same CNN on nine slices, the mean of its features",
    "cnn-slice": "the same CNN on the middle slice",
}
