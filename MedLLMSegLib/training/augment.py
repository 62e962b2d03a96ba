"""Random changes of a training case, by MONAI transforms with an explicit seed."""
from __future__ import annotations

import numpy as np
import torch
from monai.transforms import (
    AsDiscreted, Compose, Rand3DElasticd, RandAdjustContrastd, RandAffined, RandBiasFieldd, RandGaussianNoised,
    RandGaussianSmoothd, RandScaleIntensityd, RandShiftIntensityd, RandSimulateLowResolutiond,
)
from scipy import ndimage

BOTH, IMAGE = ("image", "label"), ("image",)


def training_transform(window: tuple[int, int, int], classes: int, seed: int) -> Compose:
    """Case {"image": (1, K, J, I), "label": (1, K, J, I)} -> the same keys at the window's size.

    Labels are warped as one-hot maps with linear interpolation and then take the winner: nearest-neighbour
    warping would teach ragged borders. What lies beyond a crop repeats its edge in the image and is background.
    """
    warp = dict(spatial_size=window, mode=("bilinear", "bilinear"), padding_mode=("border", "border"))
    angle = np.deg2rad(15)
    transform = Compose([
        AsDiscreted("label", to_onehot=classes),
        RandAffined(BOTH, prob=0.8, rotate_range=(angle,) * 3, translate_range=(6, 6, 6), scale_range=(0.15,) * 3,
                    shear_range=(0.05,) * 3, **warp),
        Rand3DElasticd(BOTH, prob=0.2, sigma_range=(8, 10), magnitude_range=(400, 1000), **warp),
        AsDiscreted("label", argmax=True),
        RandBiasFieldd(IMAGE, prob=0.3, degree=2, coeff_range=(0.0, 0.25)),
        RandAdjustContrastd(IMAGE, prob=0.3, gamma=(0.7, 1.4), retain_stats=True),
        RandSimulateLowResolutiond(IMAGE, prob=0.25, zoom_range=(0.4, 1.0)),
        RandGaussianSmoothd(IMAGE, prob=0.15, sigma_x=(0.3, 0.9), sigma_y=(0.3, 0.9), sigma_z=(0.3, 0.9)),
        RandGaussianNoised(IMAGE, prob=0.3, std=0.15),
        RandScaleIntensityd(IMAGE, prob=0.5, factors=0.25),
        RandShiftIntensityd(IMAGE, prob=0.5, offsets=0.25),
    ])
    transform.set_random_state(seed)
    return transform


def noise_case(window: tuple[int, int, int], generator: np.random.Generator) -> dict[str, torch.Tensor]:
    """A case without the organ: white or smooth noise and an empty label, so that the network can say "nothing here"."""
    noise = generator.standard_normal(window).astype(np.float32)
    sigma = generator.choice([0.0, 0.7, 1.5, 3.0, 6.0])
    noise = ndimage.gaussian_filter(noise, sigma) if sigma else noise
    noise = (noise - noise.mean()) / noise.std()
    return {"image": torch.from_numpy(noise)[None], "label": torch.zeros((1, *window))}
