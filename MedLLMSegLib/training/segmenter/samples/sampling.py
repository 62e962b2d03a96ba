"""Which case, which place in it: the training samples, each a function of the seed and its number
alone.

So a training that was killed goes on with the very samples it would have had, and several processes
that share a batch see together what one process would see alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from MedLLMSegLib.core.types import Triple

from .augmentation import VolumeAugmentation, noise_sample, training_transform

USUAL_SHARE = 0.4  # of samples for other scanners are only changed as is usual: its own counts, too
JITTER = 0.15  # of the window: how far a sample's centre is moved at random
ORGAN = (
    1 / 3
)  # of the samples surely hold some of the structures (as in nnU-Net, Isensee et al. 2021)


class SampleDataset(Dataset):
    """Sample number -> {"image": (C, K, J, I), "label": (1, K, J, I), "case": id} at the
    window's size.
    """

    def __init__(
        self,
        cases: list[dict],
        window: Triple,
        classes: int,
        augmentation: VolumeAugmentation,
        noise_fraction: float,
        seed: int,
    ):
        self.cases, self.window = cases, window
        self.noise_fraction, self.seed = noise_fraction, seed
        self.channels = channels = len(cases[0]["image"])
        self.transform = training_transform(window, classes, augmentation, channels)
        self.usual = None
        if augmentation.scanners:
            usual = replace(augmentation, scanners=False)
            self.usual = training_transform(window, classes, usual, channels)
        self.reach = augmentation.reach(window)

    def __len__(self) -> int:
        return 2**31  # as many as the training asks for

    def __getitem__(self, number: int) -> dict:
        rng = np.random.default_rng((self.seed, number))
        if rng.random() < self.noise_fraction:
            return {**noise_sample(self.window, rng, self.channels), "case": "noise"}
        case = self.cases[self._case_number(number)]
        transform = self.transform
        if self.usual is not None and rng.random() < USUAL_SHARE:
            transform = self.usual
        transform.set_random_state(int(rng.integers(2**31)))
        warped = transform(cut_sample(case, self.window, self.reach, rng))
        return {key: plain_tensor(warped[key]) for key in ("image", "label")} | {"case": case["id"]}

    def _case_number(self, number: int) -> int:
        """Every case once in each round, in an order of its own."""
        turn, place = divmod(number, len(self.cases))
        return int(np.random.default_rng((self.seed, 1, turn)).permutation(len(self.cases))[place])


def changed_case(
    case: dict, classes: int, augmentation: VolumeAugmentation, number: int
) -> dict[str, Any]:
    """A whole prepared case as the augmentation would change it: the same for the same number."""
    shape = tuple(case["image"].shape[1:])
    transform = training_transform(shape, classes, augmentation, len(case["image"]))
    transform.set_random_state(number)
    sample = {key: torch.from_numpy(np.array(case[key], np.float32)) for key in ("image", "label")}
    warped = transform(sample)
    return {
        "id": f"{case['id']} changed",
        "image": plain_tensor(warped["image"]).numpy(),
        "label": plain_tensor(warped["label"]).numpy().astype(np.uint8),
    }


def cut_sample(case: dict, window: Triple, reach: Triple, rng: np.random.Generator) -> dict:
    """Cut a part of size ``reach`` out of a case around a random place, beyond the case's faces
    repeating its edge.

    case: "image" (C, K, J, I), "label" (1, K, J, I) and "voxels", per structure some of its voxels
    (n, 3). An axis shorter than the window is centred, give or take `JITTER`.
    """
    shape, size = np.array(case["image"].shape[1:]), np.array(window)
    room = np.maximum(shape - size, 0)
    centre = size / 2 + room * rng.random(3) + np.minimum(0, shape - size) / 2
    if case["voxels"] and room.any() and rng.random() < ORGAN:
        voxels = case["voxels"][rng.integers(len(case["voxels"]))]
        target = voxels[rng.integers(len(voxels))]
        centre = np.where(room > 0, np.clip(target, size / 2, shape - size / 2), centre)
    centre = centre + (rng.random(3) * 2 - 1) * JITTER * size
    # The transform pads by repeating the edge, so voxels beyond the case need not be cut out.
    farthest = 2 * np.ceil(np.maximum(centre, shape - centre)).astype(int)
    extent = np.maximum(window, np.minimum(reach, farthest))
    low = np.round(centre - extent / 2).astype(int)
    index = [
        np.clip(np.arange(a, a + n), 0, count - 1)
        for a, n, count in zip(low, extent, shape, strict=True)
    ]
    voxels_taken = np.ix_(*index)
    return {
        key: torch.from_numpy(
            np.stack([channel[voxels_taken] for channel in case[key]]).astype(np.float32, order="C")
        )
        for key in ("image", "label")
    }


def plain_tensor(array: Any) -> torch.Tensor:
    """Float32, and not MONAI's MetaTensor: a batch of both kinds cannot be joined."""
    return torch.as_tensor(array).as_subclass(torch.Tensor).float().contiguous()
