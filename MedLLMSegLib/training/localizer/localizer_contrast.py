"""How bright each tissue of a subject is: T1-like in most draws, anything in the others."""

from __future__ import annotations

import numpy as np

from .subjects import FIRST_OUTSIDE, TISSUES, Subject, ellipsoid, smooth_field


def draw_contrast(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each tissue, (T,) each: T1-like in 85 draws of 100, else
    anything.
    """
    low, high = np.array([brightness for _, brightness, _ in TISSUES]).T
    if rng.random() < 0.85:
        white = rng.uniform(0.6, 1.0)
        grey = white * rng.uniform(0.5, 0.88)
        fluid = grey * rng.uniform(0.1, 0.7)
        greys = [0.0, fluid, grey, white, white * rng.uniform(0.7, 2.5)]
        means = np.interp(rng.uniform(low, high), [-1.5, -1, 0, 1, 2], greys)
        deviations = rng.uniform(0, 0.06, len(TISSUES)) * white
    else:
        means = rng.uniform(0, 1, len(TISSUES))
        if rng.random() < 0.85:
            means[0] = 0.0
        deviations = rng.uniform(0, 0.12, len(TISSUES))
    return means.astype(np.float32), deviations.astype(np.float32)


def painted(subject: Subject, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The subject as an image float32 [k, j, i] at 2 mm, and how bright the air around it is."""
    means, deviations = draw_contrast(rng)
    tissues = subject.tissues
    deviations[0] = 0.0
    image = rng.standard_normal(tissues.shape, np.float32)
    image *= deviations[tissues]
    image += means[tissues]
    if rng.random() < 0.7:
        # Fat and muscle share one label outside the brain, so it gets a patchy look.
        patches = smooth_field(tissues.shape, int(rng.integers(12, 40)), rng)[0]
        strength = np.float32(rng.uniform(0, 0.35))
        image += patches * np.where(tissues >= FIRST_OUTSIDE, strength, np.float32(0))
    if rng.random() < 0.1:  # a tumour, a cavity, a metal artefact
        centre = np.array(subject.centre_vox) + rng.uniform(-35, 35, 3)
        brightness, radii = rng.uniform(0, 1.2), rng.uniform(3, 14, 3)
        image[ellipsoid(tissues.shape, centre, radii)] = brightness
    rounds = rng.choice([0, 1, 2, 4], p=[0.25, 0.45, 0.2, 0.1])  # 4: as an average of many heads
    for _ in range(int(rounds)):
        image = blurred(image)
    return image, float(means[0])


def blurred(image: np.ndarray) -> np.ndarray:
    """Binomial smoothing (1, 2, 1) along each axis: 3.3 mm wide at half height."""
    for axis in range(3):
        moved = np.moveaxis(image, axis, 0)
        out = moved.copy()
        out[1:-1] = 0.5 * moved[1:-1] + 0.25 * (moved[:-2] + moved[2:])
        image = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(image)
