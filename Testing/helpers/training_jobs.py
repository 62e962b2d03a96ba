"""What the tests of training_job share."""

import numpy as np

from Testing.slicer_bridge.stand_in import take_along

C, S = np.cos(0.3), np.sin(0.3)
MATRIX = np.array(
    [[0.7 * C, -1.3 * S, 0, 10], [0.7 * S, 1.3 * C, 0, 20], [0, 0, 2.6, -30], [0, 0, 0, 1]]
)
MOVED = np.array([[0.9, -0.1, 0, 3], [0.1, 0.9, 0, -2], [0, 0, 1, 1.5], [0, 0, 0, 1]])
SHAPE = (9, 11, 13)
NAMES = ("tumour", "Edema é")
HISTORY = tuple({"step": 10 * n, "loss": 1 / n} for n in range(1, 8))


def two_masks(n=0):
    first, second = np.zeros((2, *SHAPE), np.uint8)
    first[2:5, 3:6, 4 + n : 9] = 1
    second[5:7, 5:8, 6:10] = 1
    return first, second


def train(logic, pairs, **options):
    histories = []
    job = logic.trainAsync(
        pairs,
        options.pop("name", "My Tumours"),
        onHistory=histories.append,
        **options,
    )
    return take_along(logic, job), histories
