"""Images of subjects that never were in a scanner, to train the localizer on (after SynthSeg,
Billot et al. 2023).

Each draw has its own contrast, pose, field of view, resolution and faults; all chance comes from
the `numpy.random.Generator` that is passed in, so a seed names an image for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES
from MedLLMSegLib.segmentation.localizer import to_unit_range

from . import subjects
from .localizer_pose import centroid, posed
from .localizer_scanner import field_of_view, scanned
from .subjects import Subject, smooth_field

SHAPE: Triple = (80, 80, 80)  # (k, j, i) of a sample, if not stated


@dataclass(frozen=True, eq=False)
class Sample:
    """A training example of the localizer.

    image: float32 [k, j, i] in 0..1, 3 mm, i to the right, j to the front, k up.
    target: float32 [6, k, j, i], how much of the voxel is of each class; sums to 1.
    visible: how much of (left, right) hippocampus lies within the field of view, 0..1.
    """

    image: np.ndarray
    target: np.ndarray
    visible: tuple[float, float]
    kind: str

    def centre_vox(self, side: int) -> np.ndarray:
        """Centroid (k, j, i) of what is to be seen of the left (0) or right (1) hippocampus, in
        voxels.
        """
        return centroid(self.target[1 + side])


def draw_sample(
    heads: Sequence[Subject], rng: np.random.Generator, shape: Triple = SHAPE
) -> Sample:
    """One training example: in 15 of 100 there is no brain at all."""
    if rng.random() < 0.02:
        return _pure_noise(shape, rng)
    return synthesise(_draw_subject(heads, rng), rng, shape)


def _draw_subject(heads: Sequence[Subject], rng: np.random.Generator) -> Subject:
    head, kind = heads[int(rng.integers(len(heads)))], rng.random()
    if kind < 0.05:
        return subjects.body(rng)
    if kind < 0.08:
        return subjects.blobs(rng)
    if kind < 0.13:
        return subjects.without_brain(head, rng)
    if kind < 0.48:
        return subjects.without_skull(head, rng)
    return subjects.without_face(head, rng) if kind < 0.56 else head


def synthesise(subject: Subject, rng: np.random.Generator, shape: Triple = SHAPE) -> Sample:
    """Put a subject into the scanner. shape: (k, j, i) of the result at 3 mm."""
    pose = posed(subject, rng, shape)
    mask = field_of_view(shape, pose.classes, rng)
    image = scanned(pose.image, pose.air, subject.kind, rng)
    image[~mask] = image[mask].min()
    image = to_unit_range(image)
    if rng.random() < 0.5:
        image **= np.float32(np.exp(rng.normal(0, 0.3)))
    covered = pose.classes * mask
    volumes = pose.classes[:2].sum((1, 2, 3))
    left, right = covered[:2].sum((1, 2, 3)) / np.maximum(volumes, 1e-6)
    target = np.concatenate([1 - covered.sum(0, keepdims=True), covered])
    return Sample(image, target.clip(0, 1), (float(left), float(right)), subject.kind)


def _pure_noise(shape: Triple, rng: np.random.Generator) -> Sample:
    """Noise, white or smooth, and nothing else."""
    image = rng.standard_normal(shape, np.float32)
    if rng.random() < 0.5:
        white = image * np.float32(rng.uniform(0, 1))
        image = white + smooth_field(shape, int(rng.integers(3, 30)), rng)[0]
    if rng.random() < 0.3:
        image = np.abs(image)
    image = to_unit_range(image)
    target = np.zeros((len(CLASSES), *shape), np.float32)
    target[0] = 1
    return Sample(image, target, (0.0, 0.0), "noise")
