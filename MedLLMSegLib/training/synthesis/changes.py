"""What differs between people and between preparations: ventricles, lesions, the skull off."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from MedLLMSegLib.anatomy.brain import BRAIN_STRUCTURES

from .draw import Draw
from .head_maps import FIRST_OUTSIDE
from .pose import PosedHead

LESION, FLUID, VENTRICLE = 25, 24, 4  # FreeSurfer's numbers
WHITE_MATTER_CLASS, VENTRICLE_CLASS = (
    1 + [s.key for s in BRAIN_STRUCTURES].index(key)
    for key in ("cerebral_white_matter", "lateral_ventricle")
)


@dataclass(frozen=True)
class ChangeConfig:
    """How often: ventricles up to `ventricle_mm` larger, lesions in the white matter, the skull
    taken off, and of those without a skull the fluid around the brain taken off, too.
    """

    ventricles: float = 0.2
    ventricle_mm: int = 6
    lesions: float = 0.3
    skull_off: float = 0.4
    fluid_off: float = 0.5


def changed(
    head: PosedHead, numbers: tuple[int, ...], draw: Draw, config: ChangeConfig
) -> PosedHead:
    """A head with changes. numbers: FreeSurfer's number of each tissue."""
    if draw.chance(config.ventricles):
        head = with_larger_ventricles(head, numbers, draw.integer(1, config.ventricle_mm + 1))
    if draw.chance(config.lesions):
        head = with_lesions(head, numbers, draw)
    if draw.chance(config.skull_off):
        head = without_skull(head, numbers, keep_fluid=not draw.chance(config.fluid_off))
    return head


def with_larger_ventricles(head: PosedHead, numbers: tuple[int, ...], grown_mm: int) -> PosedHead:
    """The lateral ventricles grow into the white matter around them; the side stays the side."""
    grown = (head.structures == VENTRICLE_CLASS).float()[None, None]  # (1, 1, K, J, I)
    white = head.structures == WHITE_MATTER_CLASS
    for _ in range(grown_mm):
        for window in ((3, 1, 1), (1, 3, 1), (1, 1, 3)):
            grown = F.max_pool3d(grown, window, 1, tuple(n // 2 for n in window))
        grown = torch.where(white | (head.structures == VENTRICLE_CLASS), grown, 0.0)
    taken = (grown[0, 0] > 0) & white
    structures = torch.where(taken, VENTRICLE_CLASS, head.structures).to(torch.uint8)
    tissues = torch.where(taken, numbers.index(VENTRICLE), head.tissues).to(torch.uint8)
    return replace(head, structures=structures, tissues=tissues)


def with_lesions(head: PosedHead, numbers: tuple[int, ...], draw: Draw) -> PosedHead:
    """Patches of white matter get the lesions' grey value, and are learnt as white matter."""
    if LESION not in numbers:
        return head
    shape = (head.tissues.shape[0], head.tissues.shape[1], head.tissues.shape[2])
    field = draw.smooth(shape, draw.integer(12, 26))[0]
    patches = (field > draw.uniform(1.2, 2.2)) & (head.structures == WHITE_MATTER_CLASS)
    tissues = torch.where(patches, numbers.index(LESION), head.tissues).to(torch.uint8)
    return replace(head, tissues=tissues)


def without_skull(head: PosedHead, numbers: tuple[int, ...], keep_fluid: bool) -> PosedHead:
    """Air for everything around the brain, and, unless it is kept, for the fluid around it.

    Fluid that is gone is background: what cannot be seen is not learnt.
    """
    gone = [n >= FIRST_OUTSIDE or (n == FLUID and not keep_fluid) for n in numbers]
    stays = ~torch.tensor(gone, device=head.tissues.device)[head.tissues.long()]
    return PosedHead(head.tissues * stays, head.structures * stays, head.sides * stays)


def outside_view(shape: tuple[int, int, int], draw: Draw) -> Tensor:
    """bool (K, J, I), True beyond a field of view that ends somewhere in the sample."""
    beyond = torch.zeros(shape, dtype=torch.bool, device=draw.device)
    axis = draw.integer(0, 3)
    length = shape[axis]
    first = int(draw.uniform(0, 0.45) * length) if draw.chance(0.6) else 0
    last = length - (int(draw.uniform(0, 0.45) * length) if draw.chance(0.6) else 0)
    view = torch.movedim(beyond, axis, 0)
    view[:first] = True
    view[last:] = True
    return beyond
