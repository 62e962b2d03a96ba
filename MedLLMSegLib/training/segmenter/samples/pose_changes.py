"""Random changes of where a heart, or anything else, lies: poses, pixel sizes and stacks of
slices that the training's own scanner never gave.

Each moves image and label together. They belong to ``--augmentation scanners``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.transforms import Affine, RandomizableTransform
from torch import Tensor

from MedLLMSegLib.core.types import Triple

Sample = dict[str, Any]  # "image" (1, K, J, I), "label" (C, K, J, I)

NOMINAL_MM, PIXEL_MM = 1.5, (0.7, 2.2)  # a scan is read as of the first, and was of the second
SIZES = (NOMINAL_MM / PIXEL_MM[1], NOMINAL_MM / PIXEL_MM[0])  # how many times too large it seems
SLICES = (0.7, 1.6)  # the same along thick slices: 6 to 14 mm that are read as 10
ASPECT = 0.06  # of the plane: how far its two axes may differ
MOST_CUT = 3  # slices that an end of the stack may lack


class RandomPose(RandomizableTransform):
    """Turned, sheared, and as large as another pixel size would make it: a window of a sample.

    rotate_deg: largest turn about k, j and i. shear: fraction. flat: slices are thick, so they are
    turned and sheared in their plane alone, have a size of their own along k, and are blended with
    their neighbours (the stack is moved by up to half a slice). Sizes are drawn from `SIZES` in
    half of all samples, and within a fifth of 1 in the others, so that what is usual stays so.
    """

    def __init__(self, window: Triple, rotate_deg: tuple[float, ...], shear: float, flat: bool):
        super().__init__(1.0)
        self.window, self.rotate_deg, self.shear, self.flat = window, rotate_deg, shear, flat

    def __call__(self, sample: Sample) -> Sample:
        self.randomize(None)
        matrix = self.draw_matrix()
        warp = Affine(
            affine=matrix,
            spatial_size=self.window,
            mode="bilinear",
            padding_mode="border",
            image_only=True,
        )
        return {**sample, **{key: warp(sample[key]) for key in ("image", "label")}}

    def draw_matrix(self) -> np.ndarray:
        """(4, 4): from voxels of the window, counted from its centre, to those of the sample."""
        matrix = np.eye(4)
        for axis, largest in enumerate(self.rotate_deg):
            matrix[:3, :3] @= rotation(axis, math.radians(self.R.uniform(-largest, largest)))
        shear = np.eye(3)
        for row, column in ((1, 2), (2, 1)) if self.flat else _off_diagonal():
            shear[row, column] = self.R.uniform(-self.shear, self.shear)
        size = self._size(SIZES)
        sizes = [self._size(SLICES) if self.flat else size, size, size]
        aspect = math.exp(self.R.uniform(-ASPECT, ASPECT) / 2)
        scales = np.divide(1.0, sizes) * [1.0, aspect, 1 / aspect]
        matrix[:3, :3] = matrix[:3, :3] @ shear @ np.diag(scales)
        if self.flat:
            matrix[0, 3] = self.R.uniform(-0.5, 0.5)
        return matrix

    def _size(self, bounds: tuple[float, float]) -> float:
        low, high = bounds if self.R.uniform() < 0.5 else (1 / 1.2, 1.2)
        return math.exp(self.R.uniform(math.log(low), math.log(high)))


def _off_diagonal() -> list[tuple[int, int]]:
    return [(row, column) for row in range(3) for column in range(3) if row != column]


def rotation(axis: int, angle: float) -> np.ndarray:
    """(3, 3) rotation about one of the axes (k, j, i), in radians."""
    first, second = (other for other in range(3) if other != axis)
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = math.cos(angle)
    turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
    return turn


class RandomCutStack(RandomizableTransform):
    """The stack ends too early: up to `MOST_CUT` slices of one end are missing.

    A stack shorter than the window repeats its last slice, here as in `sampling.cut_sample`; so a
    heart's base, or its apex, is not there.
    """

    def __call__(self, sample: Sample) -> Sample:
        self.randomize(None)
        count = sample["image"].shape[1]
        if not self._do_transform or count <= MOST_CUT:
            return sample
        missing = int(self.R.randint(1, MOST_CUT + 1))
        kept = np.clip(np.arange(count), 0, count - 1 - missing)
        if self.R.uniform() < 0.5:
            kept = count - 1 - kept[::-1]
        return _with_slices(sample, kept)


class RandomLostSlice(RandomizableTransform):
    """A slice within the stack is missing: those behind it move up, and the last is repeated."""

    def __call__(self, sample: Sample) -> Sample:
        self.randomize(None)
        count = sample["image"].shape[1]
        if not self._do_transform or count < 3:
            return sample
        lost = int(self.R.randint(1, count - 1))
        kept = [k for k in range(count) if k != lost]
        return _with_slices(sample, np.array([*kept, kept[-1]]))


def _with_slices(sample: Sample, kept: np.ndarray) -> Sample:
    index = torch.from_numpy(kept.copy())
    moved: dict[str, Tensor] = {
        key: torch.as_tensor(sample[key]).index_select(1, index) for key in ("image", "label")
    }
    return {**sample, **moved}
