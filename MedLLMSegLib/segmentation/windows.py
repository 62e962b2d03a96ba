"""An image through a network in overlapping windows, with the finished logits slab by slab.

The windows lie as MONAI's `sliding_window_inference` lays them, and their overlaps are averaged
with its Gaussian weights. Only the planes that a later window may still change are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor

from MedLLMSegLib.core.types import Triple

from .window_plan import WindowPlan, axis_first, window_weights

MOST_BYTES = 600e6  # of float32 sums; larger ones are held as float16
LARGEST_HALF = 1000.0  # of the first window's logits: sums then stay far below float16's 65,504

# image (1, channels, k, j, i) -> logits (1, C, k, j, i)
Network = Callable[[Tensor], Tensor]


def gaussian_weights(tile: Triple) -> Tensor:
    """float32 (k, j, i): how much a window's voxels count, as MONAI weighs them."""
    return torch.from_numpy(window_weights(tile))


def slabs_of_logits(
    network: Network,
    image: Tensor,
    plan: WindowPlan,
    before_window: Callable[[int], None],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Slabs of an image along `plan.axis`, in order and without gaps.

    image: (1, channels, K, J, I), on the device where the network runs and the sums are held.
    before_window: called with the number of windows done; what it raises stops the work. Yields
    (weighted sums of logits (C, planes, ...), sums of weights (planes, ...)), the axis of the
    planes first: their quotient are the logits. Both are only good until the next slab.
    """
    axis, device = plan.axis, image.device
    weights = gaussian_weights(plan.tile).movedim(axis, 0).contiguous().to(device)
    room = (plan.tile[axis], *axis_first(plan.shape, axis)[1:])
    counts = torch.zeros(room, device=device)
    sums: Tensor | None = None
    windows = held = 0  # windows done; the first plane that is held
    for first, corners in plan.rows():
        if sums is not None and first > held:
            leaving = first - held
            yield sums[:, :leaving], counts[:leaving]
            _move_up(sums, 1, leaving)
            _move_up(counts, 0, leaving)
            held = first
        for corner in corners:
            before_window(windows)
            windows += 1
            logits = _run_window(network, image, corner, plan.tile)
            if sums is None:
                sums = _empty_sums(logits, room)
            _, y, x = axis_first(corner, axis)
            _, height, width = weights.shape
            inside = (slice(y, y + height), slice(x, x + width))
            _add(sums[(slice(None), slice(None), *inside)], logits.movedim(axis + 1, 1), weights)
            counts[(slice(None), *inside)].add_(weights)
    if sums is not None:
        yield sums, counts


def _run_window(network: Network, image: Tensor, corner: Triple, tile: Triple) -> Tensor:
    """Logits (C, k, j, i) of one window, as the network gives them."""
    window = image
    for axis, (first, length) in enumerate(zip(corner, tile, strict=True)):
        window = window.narrow(axis + 2, first, length)
    return network(window.contiguous())[0]


def _empty_sums(logits: Tensor, room: Triple) -> Tensor:
    """Room for sums of logits such as these: (C, planes, ...), all zero."""
    large = 4 * len(logits) * prod(room) > MOST_BYTES
    small_numbers = float(logits.abs().max()) < LARGEST_HALF
    kind = torch.float16 if large and small_numbers else torch.float32
    return torch.zeros((len(logits), *room), device=logits.device, dtype=kind)


def _add(sums: Tensor, logits: Tensor, weights: Tensor) -> None:
    """sums += logits * weights; mixed kinds of numbers in one operation are slow."""
    if sums.dtype == torch.float32:
        sums.addcmul_(logits, weights)
    else:
        sums.add_((logits * weights).to(sums.dtype))


def _move_up(array: Tensor, axis: int, planes: int) -> None:
    """Take the first planes out and append as many that are empty, in place."""
    stay = array.shape[axis] - planes
    for first in range(0, stay, planes):  # what is copied at once does not overlap
        count = min(planes, stay - first)
        array.narrow(axis, first, count).copy_(array.narrow(axis, first + planes, count))
    array.narrow(axis, stay, planes).zero_()
