"""What dropout draws: the same in a training that goes on as in one that was never stopped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def begin_draws(number: int | None, kept: dict[str, Tensor], seed: int, fabric: Any) -> None:
    """Before a step: seed the draws by a number, or go on with those that were kept.

    number: of `Recipe.seeded_by`. kept: what `kept_draws` gave after the step before. Each process
    draws its own.
    """
    if number is not None:
        torch.manual_seed((1_000_003 * seed + number) * fabric.world_size + fabric.global_rank)
        return
    torch.set_rng_state(kept["cpu"])
    kind = fabric.device.type
    if kind != "cpu" and kind in kept:  # it may have begun on another device
        _of_device(fabric.device).set_rng_state(kept[kind])


def kept_draws(device: torch.device) -> dict[str, Tensor]:
    """Where the draws stand: of the processor, and of a device with draws of its own."""
    kept = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        kept[device.type] = _of_device(device).get_rng_state()
    return kept


def _of_device(device: torch.device) -> Any:
    """torch's module of a device, such as torch.cuda."""
    return getattr(torch, device.type)
