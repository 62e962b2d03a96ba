"""Random changes of a training sample, by MONAI transforms with an explicit seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    AsDiscreted,
    Compose,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    Randomizable,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
    Transform,
)
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from MedLLMSegLib.core.types import Triple

from .grey_changes import (
    RandomBlobs,
    RandomClip,
    RandomCoilBias,
    RandomGreyCurve,
    RandomPlaneResolution,
    RandomTissues,
)
from .pose_changes import ASPECT, SIZES, SLICES, RandomCutStack, RandomLostSlice, RandomPose

BOTH, IMAGE = ("image", "label"), ("image",)


@dataclass(frozen=True)
class VolumeAugmentation:
    """How far samples are changed.

    rotate_deg: largest turn about each axis (k, j, i); thick slices allow turns about k only.
    scale, shear: fractions. flips: the axes (0 is k) along which mirroring leaves the anatomy
    possible. elastic: probability of a smooth warp. intensity: factor on the probability of each
    change of the grey values. scanners: what other makers' scanners give, too: `pose_changes` and
    `grey_changes`.
    """

    rotate_deg: tuple[float, ...] = (15.0, 15.0, 15.0)
    scale: float = 0.15
    shear: float = 0.05
    flips: tuple[int, ...] = ()
    elastic: float = 0.2
    intensity: float = 1.0
    scanners: bool = False

    def for_scanners(self) -> VolumeAugmentation:
        """For scans of other makers and poses. Thick slices are turned any way in their plane."""
        turns = (180.0, 0.0, 0.0) if self.flat else self.rotate_deg
        return replace(self, rotate_deg=turns, scanners=True)

    def stronger(self) -> VolumeAugmentation:
        """Twice the turns in thin slices, wider scales, more warps and grey values, for models
        that learn their cases by heart.
        """
        turns = self.rotate_deg if self.flat else tuple(2 * angle for angle in self.rotate_deg)
        return replace(
            self,
            rotate_deg=turns,
            scale=min(0.3, 1.7 * self.scale),
            elastic=2.5 * self.elastic,
            intensity=1.5,
        )

    @property
    def flat(self) -> bool:
        """Thick slices are not bent or sheared across."""
        return tuple(self.rotate_deg[1:]) == (0.0, 0.0)

    @property
    def scales(self) -> tuple[float, float, float]:
        """Largest change of size along (k, j, i)."""
        if self.scanners:
            plane = (1 + ASPECT) / SIZES[0] - 1
            return ((1 / SLICES[0] - 1) if self.flat else plane, plane, plane)
        return (0.5 * self.scale if self.flat else self.scale, self.scale, self.scale)

    def reach(self, window: Triple) -> Triple:
        """Voxels (k, j, i) of a scan that a turned, scaled and sheared window covers."""
        turns = np.meshgrid(
            *(np.linspace(-a, a, 73 if a > 1.5 else 7) for a in np.deg2rad(self.rotate_deg))
        )
        turned = np.abs(
            Rotation.from_euler("XYZ", np.stack([t.ravel() for t in turns], axis=1)).as_matrix()
        )  # (turns, 3, 3)
        sheared = np.eye(3) + self.shear * (1 - np.eye(3))
        if self.flat:
            sheared[0, 1:] = sheared[1:, 0] = 0
        wide = (turned @ sheared @ (np.array(window) * (1 + np.array(self.scales)))).max(axis=0)
        k, j, i = (int(n) for n in np.ceil(wide.round(6)))
        return k, j, i


USUAL_AUGMENTATION = VolumeAugmentation()


class EachChannel(Randomizable, Transform):
    """Changes of grey values that are drawn anew for each channel of {"image": (C, K, J, I)}:
    what brightens a CT says nothing of the PET beside it. A change may read the label.
    """

    def __init__(self, changes: list[Transform]):
        self.changes = Compose(changes)

    def set_random_state(self, seed: int | None = None, state: Any = None) -> EachChannel:
        self.changes.set_random_state(seed, state)
        return self

    def __call__(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        changed = [
            self.changes({**data, "image": channel[None]})["image"] for channel in data["image"]
        ]
        return {**data, "image": torch.cat(changed)}


def training_transform(
    window: Triple,
    classes: int,
    augmentation: VolumeAugmentation = USUAL_AUGMENTATION,
    channels: int = 1,
) -> Compose:
    """Sample {"image": (C, K, J, I), "label": (1, K, J, I)} -> the same keys at the window's size.

    The sample may be larger than the window, so that turning it brings no edges into view. Labels
    are warped as one-hot maps with linear interpolation and then take the winner: nearest-neighbour
    warping would teach ragged borders. What lies beyond a sample repeats its edge in the image and
    in the label. Elastic deformation: sigma 8 to 10, moving voxels by up to about 2.6. Gamma 0.7 to
    1.4. channels: how many there are.
    """
    changes = _scanner_greys() if augmentation.scanners else _intensity_changes(augmentation)
    return Compose(
        [
            AsDiscreted("label", to_onehot=classes),
            *(_poses if augmentation.scanners else _warps)(window, augmentation),
            *(RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in augmentation.flips),
            AsDiscreted("label", argmax=True),
            *(changes if channels == 1 else [EachChannel(changes)]),
        ]
    )


def _poses(window: Triple, augmentation: VolumeAugmentation) -> list[Transform]:
    pose = RandomPose(window, augmentation.rotate_deg, augmentation.shear, augmentation.flat)
    return [pose, RandomCutStack(0.2), RandomLostSlice(0.1)] if augmentation.flat else [pose]


def _scanner_greys() -> list[Transform]:
    return [
        RandomTissues(0.3),
        RandomBlobs(0.3),
        RandomCoilBias(0.4),
        RandomGreyCurve(0.3),
        RandAdjustContrastd(IMAGE, prob=0.4, gamma=(0.5, 2.2), retain_stats=True),
        RandomClip(0.25),
        RandomPlaneResolution(0.25),
        RandGaussianSmoothd(
            IMAGE, prob=0.2, sigma_x=(1e-3, 1e-3), sigma_y=(0.3, 1.2), sigma_z=(0.3, 1.2)
        ),
        RandGaussianNoised(IMAGE, prob=0.3, std=0.3),
        RandScaleIntensityd(IMAGE, prob=0.5, factors=0.35),
        RandShiftIntensityd(IMAGE, prob=0.5, offsets=0.35),
    ]


def _warps(window: Triple, augmentation: VolumeAugmentation) -> list[Transform]:
    warp: dict[str, Any] = {
        "spatial_size": window,
        "mode": ("bilinear", "bilinear"),
        "padding_mode": ("border", "border"),
    }
    # In MONAI's order: k along j and i, j along k and i, i along k and j.
    shear = (
        (0.0, 0.0, 0.0, augmentation.shear, 0.0, augmentation.shear)
        if augmentation.flat
        else (augmentation.shear,) * 6
    )
    affine = RandAffined(
        BOTH,
        prob=0.8,
        rotate_range=tuple(np.deg2rad(augmentation.rotate_deg)),
        scale_range=augmentation.scales,
        shear_range=shear,
        **warp,
    )
    elastic = Rand3DElasticd(
        BOTH,
        prob=0.0 if augmentation.flat else augmentation.elastic,
        sigma_range=(8, 10),
        magnitude_range=(400, 1000),
        **warp,
    )
    return [affine, elastic]


def _intensity_changes(augmentation: VolumeAugmentation) -> list[Transform]:
    def often(probability: float) -> float:
        return min(1.0, probability * augmentation.intensity)

    return [
        RandBiasFieldd(IMAGE, prob=often(0.3), degree=2, coeff_range=(0.0, 0.25)),
        RandAdjustContrastd(IMAGE, prob=often(0.3), gamma=(0.7, 1.4), retain_stats=True),
        RandSimulateLowResolutiond(IMAGE, prob=often(0.25), zoom_range=(0.4, 1.0)),
        RandGaussianSmoothd(
            IMAGE, prob=often(0.15), sigma_x=(0.3, 0.9), sigma_y=(0.3, 0.9), sigma_z=(0.3, 0.9)
        ),
        RandGaussianNoised(IMAGE, prob=often(0.3), std=0.15),
        RandScaleIntensityd(IMAGE, prob=often(0.5), factors=0.25),
        RandShiftIntensityd(IMAGE, prob=often(0.5), offsets=0.25),
    ]


def noise_sample(
    window: Triple, generator: np.random.Generator, channels: int = 1
) -> dict[str, torch.Tensor]:
    """A sample without the organ: white or smooth noise and an empty label, so that the network
    can say "nothing here".
    """
    noise = np.stack([_noise(window, generator) for _ in range(channels)])  # (C, K, J, I)
    return {"image": torch.from_numpy(noise), "label": torch.zeros((1, *window))}


def _noise(window: Triple, generator: np.random.Generator) -> NDArray[np.float32]:
    noise = generator.standard_normal(window).astype(np.float32)
    sigma = generator.choice([0.0, 0.7, 1.5, 3.0, 6.0])
    noise = ndimage.gaussian_filter(noise, sigma) if sigma else noise
    return (noise - noise.mean()) / noise.std()
