"""What lies in the synthetic scanner: heads from label maps, heads without a brain, bodies, blobs.

A subject is an array of tissue numbers (rows of `TISSUES`) at 2 mm along the RAS axes, not yet an
image: `synth` draws the contrast, the pose, the field of view and the faults of the scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from MedLLMSegLib.training.synthesis.head_maps import centre_of, head_box, read_labels

SPACING_MM = 2.0

# Name, range of its brightness in T1 and its FreeSurfer or extra-cerebral numbers in the label
# maps. Brightness runs on an axis of its own, along which each draw picks the greys: -1.5 air, -1
# fluid, 0 grey matter, 1 white matter, 2 fat.
TISSUES = (
    ("air", (-1.5, -1.5), (0,)),
    ("white matter", (1.0, 1.0), (2, 41)),
    ("cortex", (-0.05, 0.05), (3, 42)),
    ("ventricles", (-1.05, -0.95), (4, 43, 5, 44, 14, 15, 72)),
    ("cerebellar white matter", (0.85, 1.0), (7, 46)),
    ("cerebellar cortex", (-0.1, 0.1), (8, 47)),
    ("thalamus", (0.35, 0.75), (10, 49)),
    ("caudate", (0.0, 0.3), (11, 50, 26, 58)),
    ("putamen", (0.15, 0.5), (12, 51)),
    ("pallidum", (0.5, 0.95), (13, 52)),
    ("brainstem", (0.6, 1.0), (16, 28, 60)),
    ("hippocampus", (-0.1, 0.2), (17, 53)),
    ("amygdala", (-0.1, 0.2), (18, 54)),
    ("fluid around the brain", (-1.2, -0.7), (24,)),
    ("lesions of white matter", (-0.5, 0.9), (25, 57)),
    ("veins in white matter", (-0.3, 1.0), (30, 62, 136, 137, 163, 164)),
    ("optic nerve", (0.3, 1.0), (85, 530)),
    ("arteries", (-1.2, 1.8), (502,)),
    ("eyes", (-1.2, -0.8), (506,)),
    ("soft tissue", (-0.7, 0.6), (507,)),
    ("eye muscles", (-0.5, 0.3), (508,)),
    ("mucosa", (-0.8, 0.8), (509,)),
    ("scalp", (0.0, 2.0), (511,)),
    ("spinal cord", (0.4, 1.0), (512,)),
    ("venous sinuses", (-1.2, 0.6), (514,)),
    ("bone", (-1.45, -1.0), (515,)),
    ("marrow", (-0.5, 2.0), (516,)),
    *((f"organ {n}", (-1.3, 1.5), ()) for n in range(12)),  # only bodies and blobs have them
)
NAMES = tuple(t[0] for t in TISSUES)
FLUID = NAMES.index("fluid around the brain")
FIRST_OUTSIDE = NAMES.index("arteries")  # from here on nothing belongs to the brain
FIRST_ORGAN = NAMES.index("organ 0")

_CLASS_LABELS = (  # the classes of `networks.localizer` after the background
    (17,),
    (53,),
    (2, 3, 4, 5, 10, 11, 12, 13, 18, 25, 26, 28, 30, 136, 137),
    (41, 42, 43, 44, 49, 50, 51, 52, 54, 57, 58, 60, 62, 163, 164),
    (7, 8, 15, 16, 46, 47),
)


@dataclass(frozen=True, eq=False)
class Subject:
    """tissues: uint8 [k, j, i], rows of `TISSUES`, 2 mm, i to the right, j to the front, k up.

    classes: uint8 [5, k, j, i], how much of the voxel (255: all) is of each class after the
    background; None where there is no brain. centre_vox: (k, j, i) that a pose turns it around.
    """

    tissues: np.ndarray
    classes: np.ndarray | None
    centre_vox: tuple[float, float, float]
    kind: str


def load_head(path: str | Path) -> Subject:
    """A whole-head label map (1 mm, FreeSurfer numbers, any orientation) as a subject."""
    labels = read_labels(path)
    box = tuple(slice(s.start, s.stop - (s.stop - s.start) % 2) for s in head_box(labels))
    blocks = _blocks(labels[box])  # (k, j, i, 8)
    # One of the eight voxels at random: thin layers survive on the average, and blurring makes
    # partial volume of them.
    chosen = np.random.default_rng(0).integers(0, 8, (*blocks.shape[:3], 1))
    tissues = tissues_of(np.take_along_axis(blocks, chosen, -1)[..., 0])
    classes = np.stack(
        [
            (np.isin(blocks, numbers).sum(-1) * 255 // 8).astype(np.uint8)
            for numbers in _CLASS_LABELS
        ]
    )
    centre = centre_of((tissues > 0) & (tissues < FIRST_OUTSIDE))
    return Subject(tissues, classes, centre, "head")


def tissues_of(labels: np.ndarray) -> np.ndarray:
    """Rows of `TISSUES` for an array of FreeSurfer numbers, as uint8. Raises `ValueError` for a
    number no row has.
    """
    lookup = np.full(int(labels.max()) + 1, 255, np.uint8)
    for row, (_, _, numbers) in enumerate(TISSUES):
        lookup[[n for n in numbers if n < len(lookup)]] = row
    rows = lookup[labels]
    if (rows == 255).any():
        raise ValueError(
            f"the label map has {np.unique(labels[rows == 255]).tolist()}, which no row of TISSUES"
            " stands for"
        )
    return rows


def _blocks(array: np.ndarray) -> np.ndarray:
    """[2k, 2j, 2i] to (k, j, i, 8): each block of 2 x 2 x 2 voxels as one row."""
    k, j, i = (n // 2 for n in array.shape)
    return array.reshape(k, 2, j, 2, i, 2).transpose(0, 2, 4, 1, 3, 5).reshape(k, j, i, 8)


def smooth_field(shape, coarse: int, rng: np.random.Generator, channels: int = 1) -> np.ndarray:
    """float32 [channels, k, j, i]: standard normal values on a grid of ``coarse`` points an
    axis, interpolated.
    """
    points = torch.from_numpy(
        rng.standard_normal((1, channels, coarse, coarse, coarse), np.float32)
    )
    return F.interpolate(points, size=tuple(shape), mode="trilinear", align_corners=True)[0].numpy()


def without_skull(head: Subject, rng: np.random.Generator) -> Subject:
    """A skull-stripped head, in one of the ways that tools leave it."""
    tissues = head.tissues.copy()
    outside, kind = tissues >= FIRST_OUTSIDE, rng.random()
    if kind < 0.15:  # a generous mask
        brain = (tissues > 0) & ~outside
        outside &= ndimage.maximum_filter(brain.view(np.uint8), int(rng.integers(3, 8))) == 0
    elif kind < 0.3:  # something was left on
        outside &= smooth_field(tissues.shape, int(rng.integers(4, 9)), rng)[0] > rng.uniform(-1, 1)
    tissues[outside] = 0
    if rng.random() < 0.3:
        tissues[tissues == FLUID] = 0
    return replace(head, tissues=tissues, kind="stripped")


def without_face(head: Subject, rng: np.random.Generator) -> Subject:
    """A head whose face was cut off for privacy: a plane below and in front of the brain."""
    down, front = rng.uniform(0.3, 1.0, 2)
    steps = [
        np.arange(n, dtype=np.float32) - c
        for n, c in zip(head.tissues.shape, head.centre_vox, strict=True)
    ]
    depth = (steps[1] * front)[None, :, None] - (steps[0] * down)[:, None, None]
    beyond = depth * SPACING_MM / np.hypot(down, front) > rng.uniform(45, 75)
    return replace(
        head,
        tissues=np.where(beyond & (head.tissues >= FIRST_OUTSIDE), 0, head.tissues).astype(
            np.uint8
        ),
    )


def without_brain(head: Subject, rng: np.random.Generator) -> Subject:
    """A head with blobs, or nothing much, where the brain was: no hippocampus to be found."""
    tissues = head.tissues.copy()
    brain = (tissues > 0) & (tissues < FIRST_OUTSIDE)
    if rng.random() < 0.6:
        tissues[brain] = _partition(tissues.shape, rng, np.arange(1, FIRST_OUTSIDE))[brain]
        if rng.random() < 0.3:
            tissues[tissues >= FIRST_OUTSIDE] = 0
    else:
        tissues[brain] = rng.choice([0, 1, 2, FLUID])
    return Subject(tissues, None, head.centre_vox, "brainless")


def _partition(shape, rng: np.random.Generator, tissues: np.ndarray) -> np.ndarray:
    """uint8 [k, j, i]: smooth patches of randomly chosen tissues."""
    chosen = rng.choice(tissues, int(rng.integers(2, 6)))
    fields = smooth_field(shape, int(rng.integers(3, 14)), rng, len(chosen))
    return chosen[fields.argmax(0)].astype(np.uint8)


def blobs(rng: np.random.Generator) -> Subject:
    """Patches of random tissues, in the whole field or in an ellipsoid."""
    shape = (100, 100, 100)
    tissues = _partition(shape, rng, np.arange(len(TISSUES)))
    if rng.random() < 0.6:
        tissues[~ellipsoid(shape, (50, 50, 50), rng.uniform(20, 50, 3))] = 0
    return Subject(tissues, None, (50.0, 50.0, 50.0), "blobs")


def body(rng: np.random.Generator) -> Subject:
    """A trunk or a limb: fat around muscle, bones, and ellipsoids for organs."""
    shape, middle = (120, 120, 120), np.full(3, 60.0)
    organs = np.arange(FIRST_ORGAN, len(TISSUES))
    radii = np.array(
        [np.inf, rng.uniform(20, 58), rng.uniform(20, 58)]
    )  # a cylinder, up to 230 mm across
    if rng.random() < 0.25:
        radii[0] = rng.uniform(30, 60)
    power, tissues = rng.choice([2, 4]), np.zeros(shape, np.uint8)
    tissues[ellipsoid(shape, middle, radii, power)] = NAMES.index("scalp")
    inner = radii - rng.uniform(1, 8)
    inside = ellipsoid(shape, middle, inner, power)
    tissues[inside] = NAMES.index("soft tissue")
    reach = np.where(np.isinf(inner), 50, inner)
    for _ in range(int(rng.integers(2, 14))):
        where = middle + rng.uniform(-0.8, 0.8, 3) * reach
        tissues[ellipsoid(shape, where, rng.uniform(4, 25, 3)) & inside] = rng.choice(organs)
    for _ in range(int(rng.integers(0, 4))):  # long bones and the spine
        where, radius = middle + rng.uniform(-0.7, 0.7, 3) * reach, rng.uniform(4, 13)
        for size, name in ((radius, "bone"), (radius - 2, "marrow")):
            tissues[ellipsoid(shape, where, (np.inf, size, size)) & inside] = NAMES.index(name)
    return Subject(
        np.ascontiguousarray(tissues.transpose(rng.permutation(3))), None, tuple(middle), "body"
    )


def ellipsoid(shape, centre, radii, power: int = 2) -> np.ndarray:
    """bool [k, j, i]: inside an ellipsoid (power 2) or a rounder box (4); an infinite radius
    makes it a cylinder.
    """
    terms = [
        np.abs((np.arange(n, dtype=np.float32) - c) / np.float32(r)) ** power
        for n, c, r in zip(shape, centre, radii, strict=True)
    ]
    return terms[0][:, None, None] + terms[1][None, :, None] + terms[2][None, None, :] < 1
