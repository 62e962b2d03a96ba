"""A head of boxes: enough of every kind of label to see what the generator does with it."""

import numpy as np

from MedLLMSegLib.training.synthesis.head_maps import HeadMap, head_map


def labels() -> np.ndarray:
    """int16 [k, j, i] of FreeSurfer's numbers: i to the right, j to the front, k up."""
    head = np.zeros((64, 72, 64), np.int16)
    head[4:60, 4:68, 4:60] = 511  # scalp
    head[8:56, 8:64, 8:56] = 24
    head[12:52, 12:60, 12:32] = 3
    head[12:52, 12:60, 32:52] = 42
    head[16:48, 16:56, 16:32] = 2
    head[16:48, 16:56, 32:48] = 41
    head[26:38, 22:50, 24:30] = 4
    head[26:38, 22:50, 34:40] = 43
    head[20:26, 20:30, 18:24] = 17
    head[20:26, 20:30, 40:46] = 53
    head[12:26, 24:32, 29:35] = 16
    head[40:44, 40:44, 18:22] = 25  # lesions in the white matter of the left, of the right
    head[40:44, 40:44, 42:46] = 57
    head[30:33, 52:55, 30:34] = 85
    return head


def made_up_head() -> HeadMap:
    return head_map(labels())
