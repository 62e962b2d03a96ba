"""Images as worse scanners would give them: the same for every arm and seed, and stronger than
training shows them.
"""

from __future__ import annotations

import zlib

import numpy as np

from MedLLMSegLib.core.volume import Volume

CORRUPTIONS = {
    "noise": "Gaussian noise of 0.6 standard deviations of the image (training: up to 0.15)",
    "bias field": (
        "a smooth field of third order with coefficients of -0.5 to 0.5 (training: second order, 0"
        " to 0.25)"
    ),
    "gamma": "gamma 2.5 (training: 0.7 to 1.4)",
    "low resolution": "sampled at 0.3 of the resolution and back (training: down to 0.4)",
}


def corrupted(volume: Volume, name: str, case: str) -> Volume:
    """A scan with one of `CORRUPTIONS`, drawn from the case's id alone. Intensities come back
    scaled to 0 to 1.
    """
    from monai.transforms import (
        AdjustContrast,
        RandBiasField,
        RandGaussianNoise,
        RandSimulateLowResolution,
    )

    low, high = np.percentile(volume.array, (0.5, 99.5))
    image = np.clip(
        (volume.array.astype(np.float32) - low) / max(float(high - low), 1e-6), 0.0, 1.0
    )[None]  # (1, k, j, i)
    transform = {
        "noise": lambda: RandGaussianNoise(
            prob=1.0, std=0.6 * float(image.std()), sample_std=False
        ),
        "bias field": lambda: RandBiasField(degree=3, coeff_range=(-0.5, 0.5), prob=1.0),
        "gamma": lambda: AdjustContrast(gamma=2.5),
        "low resolution": lambda: RandSimulateLowResolution(prob=1.0, zoom_range=(0.3, 0.3)),
    }[name]()
    if hasattr(transform, "set_random_state"):
        transform.set_random_state(zlib.crc32(f"{name} {case}".encode()))
    return volume.with_array(np.asarray(transform(image), np.float32)[0])
