"""The localizer: a trained network that sees hippocampi and cerebrum, and its views of an image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import (
    CLASSES,
    MIRRORED,
    LocalizerConfig,
    LocalizerNet,
)
from MedLLMSegLib.registry.bundle import Bundle, load_strictly

from .hippocampus_candidates import Limits

DEFAULT_LIMITS = Limits()


class Localizer:
    """A trained network, and the limits for accepting its findings."""

    def __init__(self, network: LocalizerNet, limits: Limits = DEFAULT_LIMITS) -> None:
        self.network = network.eval()
        self.config: LocalizerConfig = network.config
        self.limits = limits

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Localizer:
        """Raises `UserError` when the bundle is not a localizer's or its weights do not fit."""
        metadata = bundle.metadata
        classes = tuple(metadata.get("classes", CLASSES))
        if metadata.get("kind") != "localizer" or classes != CLASSES:
            raise UserError(
                f'The model bundle "{bundle.folder}" is not a localizer; give one of kind'
                ' "localizer".'
            )
        network = LocalizerNet(LocalizerConfig(**metadata["network"]))
        load_strictly(network, bundle.tensors)
        return cls(network)


def sample_scan(volume: Volume, grid: Grid) -> NDArray[np.float32]:
    """A scan on a grid, in 0..1; beyond the scan is its darkest value."""
    darkest = float(volume.array.min())
    return to_unit_range(resample(volume.array, volume.grid, grid, outside=darkest))


def to_unit_range(image: Array) -> NDArray[np.float32]:
    """float32 in 0..1 between the 0.5th and the 99.5th percentile.

    The percentiles keep one bright vessel or implant from setting the scale.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    if not high > low:
        low, high = float(image.min()), float(image.max())
    scale = 1.0 / (high - low) if high > low else 0.0
    scaled: NDArray[np.float32] = ((image - low) * scale).clip(0, 1).astype(np.float32)
    return scaled


def predict_both_views(
    image: Array, network: LocalizerNet, device: torch.device | str
) -> tuple[Array, Array]:
    """Class probabilities [6, k, j, i] of an image [k, j, i] in 0..1: (plain, of the mirror image).

    Where the two disagree on a side, neither can be trusted.
    """
    return predict_view(image, network, device), predict_view(image, network, device, mirrored=True)


@torch.inference_mode()
def predict_view(
    image: Array, network: LocalizerNet, device: torch.device | str, mirrored: bool = False
) -> Array:
    """Class probabilities [6, k, j, i] of an image [k, j, i] in 0..1.

    mirrored: the network sees the mirror image; axes and classes are turned back.
    """
    multiple = network.config.multiple
    padding = [(0, -length % multiple) for length in image.shape]
    padded = torch.from_numpy(np.pad(image, padding))[None, None].to(device)  # (1, 1, K, J, I)
    logits = network.to(device)(padded.flip(-1) if mirrored else padded).float()
    if mirrored:
        logits = logits.flip(-1)[:, list(MIRRORED)]
    k, j, i = image.shape
    probabilities: Array = logits.softmax(1)[0].cpu().numpy()[:, :k, :j, :i]
    return probabilities
