"""After fine-tuning: weights between those that the training began with and those it ended with.

Weights on the straight line between the two often keep what the first model knew of other scans,
and most of what the second one learnt (Wortsman et al., Robust fine-tuning of zero-shot models,
CVPR 2022). A few of them are scored on val beside the best of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from MedLLMSegLib.core.progress import Progress

from .checkpoint import load_best, save_blend
from .trainer import Trainer

SHARES = (0.25, 0.5, 0.75)  # of the way from the start to the end


@dataclass(frozen=True)
class Blend:
    """Weights on the way. share: 0 at the start, 1 at the end. score: on val."""

    share: float
    score: float


def blended(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict:
    """name -> start + share x (end - start), of all tensors of the end."""
    return {name: start[name].to(tensor).lerp(tensor, share) for name, tensor in end.items()}


def fits(start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> bool:
    """Whether both are weights of one network; a new head for other structures has no way back."""
    return all(name in start and start[name].shape == end[name].shape for name in end)


def keep_best_blend(
    trainer: Trainer, start: Mapping[str, Tensor], progress: Progress
) -> list[Blend]:
    """Score the blends of a finished training on val, and keep one that is better than its best.

    start: trained tensors by name, those that the training began with. Returns what was scored:
    [] where start and end are no weights of one network, or where it was done before.
    """
    end = trainer.state.average
    if not fits(start, end) or "share" in load_best(trainer.output):
        return []
    found = []
    for share in SHARES:
        weights = blended(start, end, share)
        told = progress.part(1.0, 1.0, f"weights {share:.0%} of the way from the start, {{}}")
        found.append(Blend(share, trainer.score_weights(weights, told)))
    best = max(found, key=lambda blend: blend.score)
    if trainer.fabric.is_global_zero:
        weights = blended(start, end, best.share) if best.score > trainer.state.best else None
        save_blend(trainer.output, weights, best.share, trainer.recipe.measure.key, best.score)
    return found
