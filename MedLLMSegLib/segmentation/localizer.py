"""The localizer: a trained network that sees hippocampi and cerebrum, and its views of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.percentiles import percentiles
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.engines.engine_network import EngineNetwork
from MedLLMSegLib.engines.graph import FP32
from MedLLMSegLib.engines.network_graphs import engine_network
from MedLLMSegLib.networks.segmentation.localizer_network import (
    CLASSES,
    MIRRORED,
    LocalizerConfig,
    LocalizerNet,
)
from MedLLMSegLib.registry.bundle import Bundle, load_strictly

from .hippocampus_candidates import Limits
from .kept_precision import Precision
from .precision import AUTO, NetworkInUse, check_precision, decide, float32_logits

DEFAULT_LIMITS = Limits()
# Voxels that go through the network together. Measured on a CPU in fp32: four views of 64^3 take
# 0.22 s together and 0.60 s one by one, because torch leaves oneDNN for inputs that are too small;
# seven take longer for each, and two of 96^3 gain nothing.
BATCH_VOX = 4 * 64**3
PROBE_VOX = (80, 80, 80)  # of a head, on which fp32 and bf16 are compared


class Localizer:
    """A trained network, and the limits for accepting its findings.

    sha256: of the measured model; empty for weights of no bundle.
    """

    def __init__(
        self, network: LocalizerNet, limits: Limits = DEFAULT_LIMITS, sha256: str = ""
    ) -> None:
        self.network: LocalizerNet | EngineNetwork = network.eval()
        self.config: LocalizerConfig = network.config
        self.limits = limits
        self.sha256 = sha256

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
        return cls(network, sha256=bundle.measured.sha256)

    def in_engine(self, engine: str) -> Localizer:
        """The same with its network in another engine; see `engines.network_graphs`."""
        return self.with_network(engine_network(self.network, engine, self.sha256))

    def with_network(self, network: LocalizerNet | EngineNetwork) -> Localizer:
        """The same with its network in another form."""
        other = copy(self)
        other.network = network
        return other

    def precision_for(
        self,
        image: Array,
        device: torch.device | str,
        requested: str = AUTO,
        progress: Report | None = None,
    ) -> Precision:
        """The precision of the network, decided by a scan where that was not done before.

        image: [k, j, i] in 0..1, of a whole head. requested, progress: see `precision.decide`. What
        is measured is kept for the weights of bundles alone.
        """
        known = self.settled_precision(device, requested)
        if known is not None:
            return known
        subject = self._in_use(device, requested)
        return decide(subject, padded(image, self.config.multiple), PROBE_VOX, progress)

    def settled_precision(
        self, device: torch.device | str, requested: str = AUTO
    ) -> Precision | None:
        """The precision of the network where it is known without a scan."""
        check_precision(requested)
        if requested == AUTO and not self.sha256:
            return Precision(FP32, "The weights are those of no bundle.")
        return self._in_use(device, requested).settled()

    def _in_use(self, device: torch.device | str, requested: str) -> NetworkInUse:
        return NetworkInUse(self.network, torch.device(device), requested, self.sha256)


@dataclass(frozen=True)
class CoarseScan:
    """A scan with whole blocks of voxels averaged, near the spacing that the localizer works at.

    All its views are taken from this, so that a fine scan is averaged once. darkest: the least
    value of the scan itself.
    """

    array: Array
    grid: Grid
    darkest: float

    @classmethod
    def of(cls, volume: Volume, spacing_mm: float) -> CoarseScan:
        """The scan with blocks of as many voxels as ``spacing_mm`` spans along each axis."""
        per_mm = np.linalg.norm(np.linalg.inv(volume.ijk_to_ras)[2::-1, :3], axis=1)  # k, j, i
        grid = _grid_of_blocks(volume.grid, np.floor(spacing_mm * per_mm + 1e-6))
        array = volume.array if grid is volume.grid else resample(volume.array, volume.grid, grid)
        return cls(array, grid, float(volume.array.min()))

    def sample(self, grid: Grid) -> NDArray[np.float32]:
        """The scan on a grid, in 0..1; beyond the scan is its darkest value."""
        return to_unit_range(resample(self.array, self.grid, grid, outside=self.darkest))


def _grid_of_blocks(grid: Grid, counts: Array) -> Grid:
    """The grid whose voxels are blocks of ``counts`` (k, j, i) voxels; itself for single voxels.

    A last part that fills no block is left out.
    """
    sizes = [int(np.clip(count, 1, n)) for count, n in zip(counts, grid.shape, strict=True)]
    if max(sizes) == 1:
        return grid
    k, j, i = (n // size for n, size in zip(grid.shape, sizes, strict=True))
    to_voxels = np.diag([*sizes[::-1], 1.0])
    to_voxels[:3, 3] = (np.array(sizes[::-1]) - 1) / 2  # a block's centre, in voxels
    return Grid((k, j, i), grid.ijk_to_ras @ to_voxels)


def to_unit_range(image: Array) -> NDArray[np.float32]:
    """float32 in 0..1 between the 0.5th and the 99.5th percentile.

    The percentiles keep one bright vessel or implant from setting the scale.
    """
    low, high = percentiles(image, (0.5, 99.5))
    if not high > low:
        low, high = float(image.min()), float(image.max())
    scale = 1.0 / (high - low) if high > low else 0.0
    scaled: NDArray[np.float32] = ((image - low) * scale).clip(0, 1).astype(np.float32)
    return scaled


@dataclass(frozen=True)
class HeadView:
    """One way to look at a head. image: [k, j, i] in 0..1. mirrored: show its mirror image."""

    image: Array
    mirrored: bool = False


def padded(image: Array, multiple: int) -> Array:
    """The image [k, j, i] with zeros behind it, each axis a multiple of so many voxels."""
    return np.pad(image, [(0, -length % multiple) for length in image.shape])


def predict_views(
    views: Sequence[HeadView],
    network: LocalizerNet | EngineNetwork,
    device: torch.device | str,
    precision: str = FP32,
) -> Iterator[Array]:
    """Class probabilities [6, k, j, i] of each view, whose images have one shape.

    precision: "fp32" or "bf16". The axes and classes of a mirrored view are turned back. Small
    views go through the network together (`BATCH_VOX`); the next ones wait until the caller asks
    for them.
    """
    network = network.to(device)
    k, j, i = views[0].image.shape
    multiple = (
        network.multiple[0] if isinstance(network, EngineNetwork) else network.config.multiple
    )
    images = [padded(view.image, multiple) for view in views]
    at_once = max(1, BATCH_VOX // images[0].size)
    for first in range(0, len(views), at_once):
        batch = torch.from_numpy(np.stack(images[first : first + at_once])[:, None]).to(device)
        mirrored = [n for n, view in enumerate(views[first : first + at_once]) if view.mirrored]
        probabilities = _predict(batch, mirrored, network, precision)
        yield from probabilities.cpu().numpy()[:, :, :k, :j, :i]


@torch.inference_mode()
def _predict(
    images: torch.Tensor, mirrored: list[int], network: nn.Module, precision: str
) -> torch.Tensor:
    """(B, 1, K, J, I) -> class probabilities (B, 6, K, J, I).

    mirrored: which of the batch the network sees as mirror images.
    """
    images[mirrored] = images[mirrored].flip(-1)
    logits = float32_logits(network, images, precision)
    logits[mirrored] = logits[mirrored].flip(-1)[:, list(MIRRORED)]
    return logits.softmax(1)
