"""The same work done with MONAI, SimpleITK and plain torch, as their users would write it.

MONAI is imported when a row needs it: the product does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.core.volume import Volume

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
REVERSE = np.eye(4)[[2, 1, 0, 3]]  # between the axes (i, j, k) and (k, j, i)


def sitk_image(array: Array, grid: Grid) -> sitk.Image:
    """An array [k, j, i] as an image of SimpleITK."""
    image = sitk.GetImageFromArray(array)
    matrix = RAS_TO_LPS @ grid.ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix / spacing).ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ grid.ijk_to_ras[:3, 3]).tolist())
    return image


def sitk_resample(image: sitk.Image, target: Grid, threads: int, nearest: bool = False) -> Array:
    """An image on another grid: float32 by linear interpolation, or nearest in its own type."""
    matrix = RAS_TO_LPS @ target.ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    if not nearest:
        resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.SetSize(target.shape[::-1])
    resampler.SetOutputSpacing(spacing.tolist())
    resampler.SetOutputDirection((matrix / spacing).ravel().tolist())
    resampler.SetOutputOrigin((RAS_TO_LPS @ target.ijk_to_ras[:3, 3]).tolist())
    # The outermost voxels count as far as the scan's faces, as in the product
    resampler.UseNearestNeighborExtrapolatorOn()
    resampled: Array = sitk.GetArrayFromImage(resampler.Execute(image))
    return resampled


def monai_spacing(array: Array, grid: Grid, target: Grid) -> Callable[[], Tensor]:
    """MONAI's `Spacing` from one grid to the spacing of another, linear, ready to be called."""
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    image = MetaTensor(torch.from_numpy(array)[None], affine=_kji_affine(grid))
    transform = Spacing(pixdim=target.spacing_mm, mode="bilinear", padding_mode="border")

    def run() -> Tensor:
        resampled: Tensor = transform(image)
        return resampled

    return run


def _kji_affine(grid: Grid) -> Tensor:
    """(4, 4) from the indices of an array [k, j, i], in its own order, to RAS mm."""
    return torch.from_numpy(grid.ijk_to_ras @ REVERSE)


def window_boxes(shape: Triple, window: Triple, overlap: float) -> list[tuple[slice, ...]]:
    """The windows that MONAI's inferer takes, half-open along (k, j, i)."""
    from monai.inferers.utils import dense_patch_slices

    steps = [max(1, int(size * (1 - overlap))) for size in window]
    boxes: list[tuple[slice, ...]] = dense_patch_slices(shape, window, steps)
    return boxes


@torch.inference_mode()
def network_alone(network: nn.Module, image: Tensor, boxes: Sequence[tuple[slice, ...]]) -> None:
    """Every window of an image (1, 1, K, J, I) through a network, and nothing else."""
    for box in boxes:
        network(image[(slice(None), slice(None), *box)])


def monai_windows(
    network: nn.Module, image: Tensor, window: Triple, overlap: float
) -> Callable[[], NDArray[np.uint8]]:
    """MONAI's inferer with Gaussian weights and argmax, ready to be called.

    image: (1, 1, K, J, I). The result is labels [k, j, i].
    """
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(window, 1, overlap, mode="gaussian")

    @torch.inference_mode()
    def run() -> NDArray[np.uint8]:
        logits = cast(Tensor, inferer(image, network))  # (1, classes, K, J, I)
        labels: NDArray[np.uint8] = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        return labels

    return run


def monai_chain(
    network: nn.Module, volume: Volume, spacing_mm: float, window: Triple, device: torch.device
) -> Callable[[], NDArray[np.uint8]]:
    """MONAI's way from a scan to labels on its own grid, with its own transforms."""
    from monai.data import MetaTensor
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import (
        AsDiscreted,
        Compose,
        Invertd,
        NormalizeIntensityd,
        Orientationd,
        ScaleIntensityRangePercentilesd,
        Spacingd,
    )

    before = Compose(
        [
            Orientationd("image", axcodes="SAR"),  # of an array [k, j, i]
            Spacingd("image", pixdim=[spacing_mm] * 3, mode="bilinear", padding_mode="border"),
            ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0, 1, clip=True),
            NormalizeIntensityd("image"),
        ]
    )
    after = Compose(
        [
            Invertd("pred", before, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", argmax=True),
        ]
    )
    inferer = SlidingWindowInferer(window, 1, 0.5, mode="gaussian")
    array = volume.array.astype(np.float32)
    affine = _kji_affine(volume.grid)

    @torch.inference_mode()
    def run() -> NDArray[np.uint8]:
        data = before({"image": MetaTensor(torch.from_numpy(array)[None], affine=affine)})
        logits = inferer(data["image"][None].to(device), network)
        done = after({**data, "pred": logits[0]})
        labels: NDArray[np.uint8] = done["pred"][0].to(torch.uint8).cpu().numpy()
        return labels

    return run


@torch.inference_mode()
def torch_nearest_labels(logits: Tensor, shape: Triple) -> NDArray[np.uint8]:
    """Logits (classes, K, J, I) -> their labels, then each voxel's nearest one."""
    labels = logits.max(0).indices.to(torch.uint8)[None, None]
    nearest = torch.nn.functional.interpolate(labels, shape, mode="nearest-exact")
    found: NDArray[np.uint8] = nearest[0, 0].cpu().numpy()
    return found


@torch.inference_mode()
def every_class_everywhere(values: Tensor, shape: Triple) -> NDArray[np.uint8]:
    """Values (classes, K, J, I) interpolated at every voxel of the larger array: the winners.

    Both arrays cover the same space. float64, so that its round-off decides nothing; one plane of
    the result at a time.
    """
    at = np.clip(
        (np.arange(shape[0]) + 0.5) * values.shape[1] / shape[0] - 0.5, 0, values.shape[1] - 1
    )
    labels = np.empty(shape, np.uint8)
    for n, position in enumerate(at):
        low = min(int(position), values.shape[1] - 1)
        high, part = min(low + 1, values.shape[1] - 1), position - int(position)
        plane = values[:, low].double() * (1 - part) + values[:, high].double() * part
        larger = torch.nn.functional.interpolate(plane[None], shape[1:], mode="bilinear")
        labels[n] = larger[0].max(0).indices.numpy()
    return labels
