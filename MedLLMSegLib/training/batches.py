"""Which samples are whose, and how a step's samples become a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Sampler

from .loop_config import LoopConfig
from .recipe import Recipe


class BatchNumbers(Sampler[list[int]]):
    """The sample numbers of one process: its part of every batch from a step on.

    batch: samples of a step over all processes, divided evenly among them.
    """

    def __init__(self, first_step: int, steps: int, batch: int, rank: int = 0, world: int = 1):
        self.first_step, self.steps, self.batch = first_step, steps, batch
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.steps):
            yield list(range(step * self.batch + self.rank, (step + 1) * self.batch, self.world))

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)


def make_loader(recipe: Recipe, config: LoopConfig, fabric: Any, first_step: int) -> Any:
    """The batches of this process from a step on."""
    numbers = BatchNumbers(
        first_step, config.steps, config.batch, fabric.global_rank, fabric.world_size
    )
    loader = DataLoader(
        recipe.samples,
        batch_sampler=numbers,
        num_workers=config.workers,
        collate_fn=only_one if recipe.whole_batches else None,
        pin_memory=fabric.device.type == "cuda" and not recipe.on_device,
    )
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)


def only_one(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one sample of a step that is a whole batch."""
    (batch,) = samples
    return batch
