"""A beating phantom: a tube of wall beside a crescent, whose volumes are known."""

import numpy as np

from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.itk_images import FRAME_STEP

SPACING = (10.0, 1.5, 1.5)  # (k, j, i) mm
SHAPE = (8, 80, 80)
WALL_MM2 = np.pi * (30.0**2 - 22.0**2)  # of each slice; the wall keeps its volume over the beat
INNER_MM = (22.0, 19.0, 15.0, 13.0, 16.0, 20.0)  # of the left ventricle, image by image


def heart_series(inner_mm=INNER_MM):
    """(scan, labels): [t, k, j, i], 1 right ventricle, 2 wall, 3 left ventricle, base first."""
    maps = np.stack([_labels(inner) for inner in inner_mm])
    grey = np.array([60, 200, 90, 220], np.float32)[maps]
    noise = np.random.default_rng(0).normal(0, 4, grey.shape).astype(np.float32)
    matrix = np.diag([-SPACING[2], -SPACING[1], -SPACING[0], 1.0])
    tags = {FRAME_STEP: 1.0}
    return Volume(grey + noise, matrix, "cine", tags), Volume(maps, matrix, "labels", tags)


def _labels(inner_mm):
    _, j, i = np.indices(SHAPE)
    y, x = ((index - (n - 1) / 2) * 1.5 for index, n in zip((j, i), SHAPE[1:], strict=True))
    outer_mm = np.sqrt(inner_mm**2 + WALL_MM2 / np.pi)
    labels = np.zeros(SHAPE, np.uint8)
    labels[np.hypot(x + 20, y) < inner_mm + 12] = 1
    labels[np.hypot(x, y) < outer_mm] = 2
    labels[np.hypot(x, y) < inner_mm] = 3
    return labels


def left_ml(inner_mm):
    """The volume of the left ventricle in mL."""
    return np.pi * inner_mm**2 * SPACING[0] * SHAPE[0] / 1000
