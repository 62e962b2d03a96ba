"""What a training on synthesised heads needs of its own: samples, loss, and a score on val."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES

from .head_maps import NO_SIDE, RIGHT, HeadMap
from .sample import SynthesisConfig, SyntheticHead, draw_head

CLASSES = 1 + len(BRAIN_STRUCTURES)  # and, after them, the logit of the right side
VAL_SEED = 10_000_019  # of the first val image, far from those of training
PAIRED = torch.tensor([False, *(s.paired for s in BRAIN_STRUCTURES)])


class HeadSamples(Dataset[dict[str, Tensor | str]]):
    """Sample number -> {"image": (1, K, J, I), "structures", "sides": uint8 (K, J, I), "case"}.

    A sample is a function of the seed and its number alone, so a training that goes on sees the
    very samples it would have seen.
    """

    def __init__(
        self,
        heads: Sequence[HeadMap],
        config: SynthesisConfig,
        seed: int,
        device: torch.device | str = "cpu",
    ):
        self.heads, self.config, self.seed, self.device = heads, config, seed, device

    def __len__(self) -> int:
        return 2**31  # as many as the training asks for

    def __getitem__(self, number: int) -> dict[str, Tensor | str]:
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1, np.uint32)[0])
        head = draw_head(self.heads, seed, self.config, self.device)
        return {
            "image": head.image[None],
            "structures": head.structures,
            "sides": head.sides,
            "case": f"synthetic head {number}",
        }


def voxel_of_blocks(array: Tensor, voxel: int, fold: int) -> Tensor:
    """(..., K f, J f, I f) -> (..., K, J, I): one voxel of each block, in the order k, j, i."""
    k, rest = divmod(voxel, fold * fold)
    j, i = divmod(rest, fold)
    return array[..., k::fold, j::fold, i::fold]


class StructureAndSideLoss:
    """Soft Dice and cross-entropy of structures, and of sides where a structure is paired.

    Summed in float32 whatever the network ran in.
    """

    def __call__(self, logits: Tensor, structures: Tensor, sides: Tensor) -> Tensor:
        """logits (B, classes + 1, K, J, I), structures and sides (B, K, J, I) -> scalar."""
        target = structures.long()
        scores = logits[:, :CLASSES].float()
        logs = scores.log_softmax(dim=1)
        cross_entropy = F.nll_loss(logs, target)
        dice = soft_dice_loss(logs.exp(), target)
        return cross_entropy + dice + side_loss(logits[:, CLASSES], sides)


def soft_dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """1 - the mean soft Dice (V-Net, Milletari et al. 2016) of the structures that are there.

    probabilities (B, classes, K, J, I), target (B, K, J, I) -> scalar.
    """
    flat = target.flatten()  # (B K J I)
    own = probabilities.gather(1, target[:, None]).flatten()  # of the voxel's own class
    overlap = torch.zeros(CLASSES, device=probabilities.device).index_add(0, flat, own)
    there = torch.bincount(flat, minlength=CLASSES).float()
    seen = probabilities.sum(dim=(0, 2, 3, 4))
    dice = (2 * overlap[1:] + 1) / (seen[1:] + there[1:] + 1)
    present = there[1:] > 0
    if not present.any():
        return 1 - dice.mean()
    return 1 - dice[present].mean()


def side_loss(logit: Tensor, sides: Tensor) -> Tensor:
    """Binary cross-entropy of right against left, where there is a side.

    logit, sides (B, K, J, I) -> scalar; 0 where no voxel has a side.
    """
    sided = sides != NO_SIDE
    if not sided.any():
        return logit.float().sum() * 0
    return F.binary_cross_entropy_with_logits(logit[sided].float(), (sides[sided] == RIGHT).float())


def val_heads(
    heads: Sequence[HeadMap], config: SynthesisConfig, count: int, device: torch.device | str
) -> list[SyntheticHead]:
    """The val images: each map in turn, always the same for the same configuration."""
    return [draw_head([heads[n % len(heads)]], VAL_SEED + n, config, device) for n in range(count)]


def head_score(network: nn.Module, head: SyntheticHead) -> float:
    """Mean Dice over the numbers (left and right apart) that one synthetic head has."""
    return mean_dice(found_numbers(network, head), true_numbers(head))


@torch.inference_mode()
def found_numbers(network: nn.Module, head: SyntheticHead) -> Tensor:
    """What the network finds in a head, int64 (K, J, I) as in `numbered`."""
    logits = network(head.image[None, None])[0]  # (classes + 1, K, J, I)
    return numbered(logits[:CLASSES].max(dim=0).indices, logits[CLASSES] > 0)


def true_numbers(head: SyntheticHead) -> Tensor:
    """What is in a head, int64 (K, J, I) as in `numbered`."""
    return numbered(head.structures.long(), head.sides == RIGHT)


def mean_dice(found: Tensor, true: Tensor) -> float:
    """Mean Dice of the numbers that are there; NaN without any."""
    scores = [
        2 * ((found == n) & (true == n)).sum() / ((found == n).sum() + (true == n).sum())
        for n in (int(n) for n in true.unique() if n > 0)
    ]
    return float(torch.stack(scores).mean()) if scores else float("nan")


def numbered(structures: Tensor, right: Tensor) -> Tensor:
    """Classes (K, J, I) and whether the side is right -> 2 x class, plus 1 for a paired right."""
    paired = PAIRED.to(structures.device)[structures]
    return 2 * structures + (paired & right)
