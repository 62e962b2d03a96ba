"""Images onto grids that are turned against their own: SimpleITK, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from .geometry import ROUND_OFF_VOX, Box, Grid, voxel_map
from .resampling_taps import sample_count, sub_positions
from .types import Array

_BLOCK_VOXELS = 96e6  # at most, of samples and of the source around them: each block is copied


def resample_oblique(
    array: Array,
    from_grid: Grid,
    to_grid: Grid,
    out: Array,
    order: int = 1,
    outside: float | None = None,
    average: bool = True,
) -> None:
    """Sample an image [k, j, i] on a grid of any orientation.

    out: what is filled in, of the target's shape: float32, or the image's type with order 0. order,
    outside, average: see `resample`.
    """
    matrix = voxel_map(from_grid, to_grid)
    samples = oblique_samples(matrix) if average and order else (1, 1, 1)
    for box in blocks(matrix, to_grid.shape, samples, _BLOCK_VOXELS, array.shape):
        block = matrix @ translation([span.start for span in box])
        shape = [span.stop - span.start for span in box]
        out[box] = _means(array, block, shape, samples, order)
        if outside is not None:
            out[box][~_within(block, shape, array.shape)] = outside


def oblique_samples(matrix: Array) -> tuple[int, int, int]:
    """How many samples are averaged in each voxel along the target's (k, j, i).

    matrix: (4, 4) from the target's [k, j, i] indices to the source's.
    """
    k, j, i = (sample_count(span) for span in np.linalg.norm(matrix[:3, :3], axis=0))
    return k, j, i


def finer_map(matrix: Array, samples: Sequence[int]) -> Array:
    """``matrix`` for the grid with ``samples`` in each voxel along (k, j, i) of the target."""
    to_voxels = np.diag([*(1 / np.array(samples)), 1.0])
    to_voxels[:3, 3] = [sub_positions(count)[0] for count in samples]
    finer: Array = matrix @ to_voxels
    return finer


def source_span(to_source: Array, shape: Sequence[int]) -> tuple[Array, Array]:
    """int (3,) first and last index of the voxels between which a grid's voxels lie.

    to_source: (4, 4) to the source's [k, j, i] indices. They may lie beyond the source.
    """
    ends = to_source[:3, :3] * (np.array(shape) - 1)  # [source axis, target axis]
    low = to_source[:3, 3] + np.minimum(ends, 0).sum(axis=1) - ROUND_OFF_VOX
    high = to_source[:3, 3] + np.maximum(ends, 0).sum(axis=1) + ROUND_OFF_VOX
    return np.floor(low).astype(int), np.ceil(high).astype(int)


def translation(offset: Sequence[float]) -> Array:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def blocks(
    matrix: Array,
    shape: Sequence[int],
    samples: Sequence[int],
    most_voxels: float,
    source_shape: Sequence[int],
) -> Iterator[Box]:
    """Boxes of the target that together are all of it.

    matrix, samples: see `finer_map`. most_voxels: what a box has of samples, and what it reads of
    the source, unless a single voxel needs more. source_shape: of the source.
    """
    edges = np.array(shape)
    while edges.max() > 1:
        source_edges = np.minimum(np.abs(matrix[:3, :3]) @ edges + 3, source_shape)
        if max(np.prod(source_edges), np.prod(edges * samples, dtype=float)) <= most_voxels:
            break
        longest = np.where(edges > 1, edges * samples, 0).argmax()
        edges[longest] = -(-edges[longest] // 2)
    starts = (range(0, length, int(edge)) for length, edge in zip(shape, edges, strict=True))
    for corner in product(*starts):
        k, j, i = (
            slice(start, min(start + int(edge), length))
            for start, edge, length in zip(corner, edges, shape, strict=True)
        )
        yield k, j, i


def _means(
    array: Array, matrix: Array, shape: Sequence[int], samples: Sequence[int], order: int
) -> Array:
    """A block of the target, each voxel the mean of its samples.

    matrix: (4, 4) from the block's [k, j, i] to the source's. shape: of the block.
    """
    to_source = finer_map(matrix, samples)
    fine_shape = [length * count for length, count in zip(shape, samples, strict=True)]
    low, high = source_span(to_source, fine_shape)
    ends = [length - 1 for length in array.shape]
    first, last = np.clip(low, 0, ends), np.clip(high, 0, ends)
    part = array[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    fine = _itk_sample(part, translation((-first).tolist()) @ to_source, fine_shape, order)
    if max(samples) == 1:
        return fine
    (k, j, i), (in_k, in_j, in_i) = shape, samples
    means: Array = fine.reshape(k, in_k, j, in_j, i, in_i).mean(axis=(1, 3, 5))
    return means


def _itk_sample(array: Array, matrix: Array, shape: Sequence[int], order: int) -> Array:
    """SimpleITK's resampling of an image [k, j, i]; beyond its faces the nearest voxel's value.

    matrix: (4, 4) from [k, j, i] of the result to the array's. Returns float32 with order 1, the
    array's type with order 0.
    """
    import SimpleITK as sitk  # half a second, and most grids are parallel

    kind = array.dtype
    if kind == np.bool_:
        array = array.view(np.uint8)
    elif kind == np.float16:
        array = array.astype(np.float32)
    # In the machine's byte order
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    to_array = sitk.AffineTransform(3)
    to_array.SetMatrix(matrix[2::-1, 2::-1].ravel().tolist())
    to_array.SetTranslation(matrix[2::-1, 3].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(list(shape[::-1]))
    resampler.SetTransform(to_array)
    resampler.SetInterpolator(sitk.sitkLinear if order else sitk.sitkNearestNeighbor)
    resampler.UseNearestNeighborExtrapolatorOn()
    if order:
        resampler.SetOutputPixelType(sitk.sitkFloat32)
    sampled: Array = sitk.GetArrayFromImage(resampler.Execute(image))
    return sampled if order else sampled.astype(kind)


def _within(matrix: Array, shape: Sequence[int], source_shape: Sequence[int]) -> Array:
    """Which voxels of a block, bool [k, j, i], lie between the source's outermost centres."""
    indices = np.ogrid[tuple(slice(length) for length in shape)]
    within = np.ones(shape, bool)
    for axis, length in enumerate(source_shape):
        position = sum(matrix[axis, a] * indices[a] for a in range(3)) + matrix[axis, 3]
        within &= position > -ROUND_OFF_VOX
        within &= position < length - 1 + ROUND_OFF_VOX
    return within
