"""Random changes of grey values that another maker's scanner, sequence or export may bring.

Each takes a normalised image (mean 0, deviation 1) and leaves the label as it is. They belong to
``--augmentation scanners``; `augmentation.py` puts them in order. Domain randomisation after Billot
et al. (SynthSeg, Medical Image Analysis 2023) and Zhou et al. (Models Genesis, 2021), on real
images.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import RandBiasField, RandomizableTransform
from torch import Tensor

Sample = dict[str, Any]  # "image" (1, K, J, I), "label" (1, K, J, I) whole numbers

KNOTS = 5  # of a grey curve
BRIGHT = (0.5, 3.5)  # deviations above the mean: fat, vessels, the stomach's fluid
BIAS_DEGREE, BIAS = 3, 0.4


class GreyChange(RandomizableTransform):
    """A change of an image in so many of all samples."""

    def __call__(self, sample: Sample) -> Sample:
        self.randomize(None)
        if not self._do_transform:
            return sample
        image = torch.as_tensor(sample["image"]).as_subclass(torch.Tensor)
        label = torch.as_tensor(sample["label"]).as_subclass(torch.Tensor)
        return {**sample, "image": self.changed(image, label)}

    @abstractmethod
    def changed(self, image: Tensor, label: Tensor) -> Tensor:
        """image, label: (1, K, J, I) -> image (1, K, J, I)."""


class RandomTissues(GreyChange):
    """Each structure is brighter or darker by its own amount (deviation 0.35): another sequence
    has another contrast of blood and muscle.
    """

    def changed(self, image: Tensor, label: Tensor) -> Tensor:
        steps = self.R.normal(0, 0.35, int(label.max()) + 1)
        steps[0] = 0
        return image + torch.from_numpy(steps).float()[label.long()]


class RandomGreyCurve(GreyChange):
    """Grey values along a curve of `KNOTS` knots, which rises; in a sixth of all draws it does
    not, so that parts of the scale are inverted. Mean and deviation stay.
    """

    def changed(self, image: Tensor, label: Tensor) -> Tensor:
        low, high = np.percentile(image.numpy(), (1, 99))
        heights = np.sort(self.R.uniform(0, 1, KNOTS))
        if self.R.uniform() < 1 / 6:
            self.R.shuffle(heights)
        knots = np.linspace(low, high, KNOTS)
        mapped = np.interp(image.numpy(), knots, low + heights * (high - low))
        return with_spread_of(torch.from_numpy(mapped).float(), image)


class RandomClip(GreyChange):
    """The darkest and the brightest values are cut off, as a window of a viewer or an export does:
    up to a fifth below and a seventh above. Mean and deviation stay.
    """

    def changed(self, image: Tensor, label: Tensor) -> Tensor:
        shares = (self.R.uniform(0, 20), self.R.uniform(86, 99.5))
        low, high = (float(v) for v in np.percentile(image.numpy(), shares))
        return with_spread_of(image.clamp(low, high), image)


class RandomCoilBias(GreyChange):
    """A smooth field of third order multiplies the signal, which is counted from the darkest voxel
    on: the image of a surface coil. Mean and deviation stay.
    """

    def __init__(self, prob: float):
        super().__init__(prob)
        self.field = RandBiasField(degree=BIAS_DEGREE, coeff_range=(-BIAS, BIAS), prob=1.0)

    def changed(self, image: Tensor, label: Tensor) -> Tensor:
        self.field.set_random_state(int(self.R.randint(2**31)))
        biased = torch.as_tensor(self.field(image - image.min())).as_subclass(torch.Tensor)
        return with_spread_of(biased, image)


class RandomBlobs(GreyChange):
    """One to four bright ellipsoids outside of what is labelled: things that a wider field of view
    shows beside the heart.
    """

    def changed(self, image: Tensor, label: Tensor) -> Tensor:
        shape = image.shape[1:]
        image = image.clone()
        axes = [torch.arange(n, dtype=torch.float32) for n in shape]
        for _ in range(int(self.R.randint(1, 5))):
            reach = [0.1, 0.5], [0.04, 0.2], [0.04, 0.2]  # shares of the window, along (k, j, i)
            parts = []
            for axis, count, (least, most) in zip(axes, shape, reach, strict=True):
                centre, radius = self.R.uniform(0, count), self.R.uniform(least, most) * count
                parts.append(((axis - centre) / max(1.0, radius)) ** 2)
            k, j, i = parts
            far = k[:, None, None] + j[:, None] + i  # (K, J, I), 1 on the surface
            share = ((1.3 - far) / 0.6).clamp(0, 1) * (label[0] == 0)
            image[0] += share * (float(self.R.uniform(*BRIGHT)) - image[0])
        return image


class RandomPlaneResolution(GreyChange):
    """Measured in coarser pixels, down to 0.35 of the resolution in the plane of the slices, and
    interpolated back; slices stay slices.
    """

    def changed(self, image: Tensor, label: Tensor) -> Tensor:
        share = self.R.uniform(0.35, 1.0)
        size = image.shape[-2:]
        coarse = [max(2, round(share * n)) for n in size]
        planes = F.interpolate(image.movedim(0, 1), size=coarse, mode="area")  # (K, 1, J', I')
        planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)
        return planes.movedim(0, 1)


def with_spread_of(image: Tensor, like: Tensor) -> Tensor:
    """The image with the mean and the deviation of another."""
    centred = image - image.mean()
    return centred * (like.std() / centred.std().clamp(min=1e-6)) + like.mean()
