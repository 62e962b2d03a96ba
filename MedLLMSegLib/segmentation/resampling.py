"""Images from one grid to another on any device: `core.resampling` for tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from MedLLMSegLib.core import resampling as core
from MedLLMSegLib.core.geometry import ROUND_OFF_VOX, Box, Grid, voxel_map
from MedLLMSegLib.core.oblique_resampling import (
    blocks,
    finer_map,
    oblique_samples,
    source_span,
    translation,
)
from MedLLMSegLib.core.resampling_taps import (
    AxisTaps,
    ParallelAxes,
    SeparableTaps,
    parallel_axes,
)
from MedLLMSegLib.core.types import Array

_VOXELS_AT_ONCE = 1 << 25  # enough to keep a GPU busy


def resample(
    image: Tensor,
    from_grid: Grid,
    to_grid: Grid,
    outside: float | None = None,
    average: bool = True,
) -> Tensor:
    """Sample an image at the voxels of another grid, trilinearly.

    image: (K, J, I) or (C, K, J, I) of any type. outside, average: see `core.resampling.resample`.
    Returns float32 of as many axes on the image's device.
    """
    if image.device.type != "cpu":
        return resample_on_device(image, from_grid, to_grid, outside, average)
    if image.dtype == torch.bfloat16:  # which NumPy does not know
        image = image.float()
    # Plane by plane in NumPy a CPU is two to eight times as fast as with what suits a GPU
    array = image.detach().numpy()
    channels = array if array.ndim == 4 else array[None]
    out = torch.empty((len(channels), *to_grid.shape))
    for channel, resampled in zip(channels, out, strict=True):
        core.resample(channel, from_grid, to_grid, 1, outside, average, resampled.numpy())
    return out if image.ndim == 4 else out[0]


def resample_on_device(
    image: Tensor,
    from_grid: Grid,
    to_grid: Grid,
    outside: float | None = None,
    average: bool = True,
) -> Tensor:
    """As `resample`, with torch's operations throughout."""
    channels = image if image.ndim == 4 else image[None]  # (C, K, J, I)
    shape = (len(channels), *to_grid.shape)
    out = torch.empty(shape, dtype=torch.float32, device=image.device)
    if not channels.numel() or not out.numel():
        out.fill_(outside or 0.0)
    else:
        parallel = parallel_axes(from_grid, to_grid)
        if parallel is None:
            _fill_oblique(out, channels, voxel_map(from_grid, to_grid), outside, average)
        else:
            _fill_parallel(out, channels, parallel.linear_taps(average))
            if outside is not None:
                _fill_beyond(out, parallel, outside)
    return out if image.ndim == 4 else out[0]


# ---- parallel axes ----


def _fill_parallel(out: Tensor, image: Tensor, taps: SeparableTaps) -> None:
    """Slab by slab along the target's k. out, image: (C, K, J, I)."""
    source = image.permute(0, *(1 + axis for axis in taps.source_axes))
    along_k, along_j, along_i = taps.taps
    growth = len(along_k.index) / source.shape[1]
    plane_voxels = max(source[:, 0].numel() / growth, out[:, 0].numel())
    planes = max(1, int(_VOXELS_AT_ONCE / plane_voxels))
    for first in range(0, out.shape[1], planes):
        some = slice(first, first + planes)
        index, weight = along_k.index[some], along_k.weight[some]
        low, high = int(index.min()), int(index.max()) + 1
        slab = source[:, low:high].to(torch.float32).contiguous()
        axes = [AxisTaps(index - low, weight), along_j, along_i]
        # What shrinks comes first: less is left for the others
        order = sorted(range(3), key=lambda axis: len(axes[axis].index) / slab.shape[1 + axis])
        for axis in order:
            slab = _along_axis(slab, 1 + axis, axes[axis])
        out[:, some] = slab


def _along_axis(values: Tensor, axis: int, taps: AxisTaps) -> Tensor:
    """The weighted sums of (C, K, J, I) along one axis."""
    index = torch.from_numpy(taps.index.T.copy()).to(values.device)  # (t, n)
    weight = torch.from_numpy(taps.weight.T.copy()).to(values.device)
    total = values.index_select(axis, index[0])
    if len(index) == 1:
        return total
    shape = [-1 if each == axis else 1 for each in range(4)]
    total *= weight[0].view(shape)
    for one_index, one_weight in zip(index[1:], weight[1:], strict=True):
        total.addcmul_(values.index_select(axis, one_index), one_weight.view(shape))
    return total


def _fill_beyond(out: Tensor, parallel: ParallelAxes, outside: float) -> None:
    """Write ``outside`` beyond the centres of the source's outermost voxels."""
    for axis, within in enumerate(parallel.within(0.0)):
        beyond = torch.from_numpy(np.flatnonzero(~within)).to(out.device)
        out.index_fill_(1 + axis, beyond, outside)


# ---- turned axes ----


def _fill_oblique(
    out: Tensor, image: Tensor, matrix: Array, outside: float | None, average: bool
) -> None:
    """Block by block. matrix: (4, 4) from the target's [k, j, i] to the source's."""
    samples = oblique_samples(matrix) if average else (1, 1, 1)
    for box in blocks(matrix, out.shape[1:], samples, _VOXELS_AT_ONCE):
        to_source = matrix @ translation([span.start for span in box])
        shape = [span.stop - span.start for span in box]
        block = _means(image, to_source, shape, samples)
        if outside is not None:
            for position, length in zip(
                _positions(to_source, shape, out.device), image.shape[1:], strict=True
            ):
                beyond = (position < -ROUND_OFF_VOX) | (position > length - 1 + ROUND_OFF_VOX)
                block.masked_fill_(beyond, outside)
        out[(slice(None), *box)] = block


def _means(image: Tensor, to_source: Array, shape: Sequence[int], samples: Sequence[int]) -> Tensor:
    """A block of the target (C, k, j, i), each voxel the mean of its samples."""
    fine_map = finer_map(to_source, samples)
    fine_shape = [length * count for length, count in zip(shape, samples, strict=True)]
    box = _box_around(fine_map, fine_shape, image)
    source = image[(slice(None), *box)].to(torch.float32)[None]  # (1, C, K, J, I)
    fine_map = translation([-span.start for span in box]) @ fine_map
    positions = _positions(fine_map, fine_shape, image.device)
    # -1 and 1 are the centres of the box's outermost voxels
    places = [
        2 * position / max(length - 1, 1) - 1
        for position, length in zip(positions, source.shape[2:], strict=True)
    ]
    grid = torch.stack(places[::-1], dim=-1)[None]  # (1, k, j, i, 3) of i, j, k
    fine = functional.grid_sample(source, grid, padding_mode="border", align_corners=True)[0]
    if max(samples) == 1:
        return fine
    (k, j, i), (in_k, in_j, in_i) = shape, samples
    return fine.reshape(-1, k, in_k, j, in_j, i, in_i).mean((2, 4, 6))


def _box_around(to_source: Array, shape: Sequence[int], image: Tensor) -> Box:
    """The source's voxels between which a grid's voxels lie; one at the edge for a grid beyond."""
    low, high = source_span(to_source, shape)
    spans = []
    for first, last, length in zip(low, high, image.shape[1:], strict=True):
        start = min(max(int(first), 0), length - 1)
        spans.append(slice(start, max(start, min(int(last), length - 1)) + 1))
    k, j, i = spans
    return k, j, i


def _positions(matrix: Array, shape: Sequence[int], device: torch.device) -> list[Tensor]:
    """Where a grid's voxels lie along the source's k, j and i: float32 (k, j, i) each."""
    k, j, i = (np.arange(length) for length in shape)
    positions = []
    for row in matrix[:3]:
        # In double precision up to the sums
        along_k, along_j, along_i = (
            torch.from_numpy(steps.astype(np.float32)).to(device)
            for steps in (row[0] * k + row[3], row[1] * j, row[2] * i)
        )
        positions.append(along_k[:, None, None] + along_j[:, None] + along_i)
    return positions
