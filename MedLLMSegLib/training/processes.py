"""What the processes of one training must agree on; one process alone agrees with itself."""

from __future__ import annotations

from typing import Any

import torch


def mean_of_all(fabric: Any, values: list[float]) -> float:
    """The mean of all processes' values; 0 without any."""
    sums = torch.tensor([sum(values), len(values)], dtype=torch.float32)  # MPS has no float64
    total = fabric.all_reduce(sums, reduce_op="sum")
    return float(total[0] / total[1]) if total[1] else 0.0


def true_for_any(fabric: Any, own: bool) -> bool:
    """Whether it is true for one process at least."""
    if fabric.world_size == 1:
        return own
    return bool(fabric.all_reduce(torch.tensor(float(own)), reduce_op="sum"))
