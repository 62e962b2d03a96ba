"""What a scanner does to an image: bias, blur, thick slices, motion, ghosts, noise, gamma."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .draw import Draw

THICKEST_MM = 8.0


@dataclass(frozen=True)
class ScannerConfig:
    """How strong a scanner's faults may be.

    bias: standard deviation of the logarithm of the bias field. thick: how often one axis is
    measured in thicker slices than 1 mm, up to `THICKEST_MM`. coarse: how often the voxels of all
    axes are larger, up to 3 mm. noise: largest standard deviation, of a range of about 1. ghosts,
    motion: how often. gamma: standard deviation of its logarithm.
    """

    bias: float = 0.35
    thick: float = 0.4
    coarse: float = 0.4
    noise: float = 0.12
    ghosts: float = 0.1
    motion: float = 0.1
    gamma: float = 0.35


def scanned(image: Tensor, draw: Draw, config: ScannerConfig) -> Tensor:
    """float32 (K, J, I) at 1 mm, as painted -> the same, as measured and interpolated to 1 mm."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    field = draw.smooth(shape, draw.integer(2, 6))[0]
    image = image * field.mul_(draw.uniform(0, config.bias)).exp_()
    if draw.chance(config.motion):
        image = moved(image, draw)
    image = resolved(image, draw_spacing(draw, config), draw)
    if draw.chance(config.ghosts):
        image = ghosted(image, draw)
    image = noisy(image, draw, config.noise)
    return with_gamma(image, draw.normal(config.gamma))


def draw_spacing(draw: Draw, config: ScannerConfig) -> tuple[float, float, float]:
    """Millimetres between the voxels that are measured, along (k, j, i)."""
    smallest = draw.uniform(1, 3) if draw.chance(config.coarse) else 1.0
    spacing = [smallest] * 3
    if draw.chance(config.thick):
        spacing[draw.integer(0, 3)] = draw.uniform(max(2.0, smallest), THICKEST_MM)
    return spacing[0], spacing[1], spacing[2]


def resolved(image: Tensor, spacing_mm: tuple[float, float, float], draw: Draw) -> Tensor:
    """Averaged over voxels of this size and interpolated linearly back to 1 mm.

    Along an axis of 1 mm a light blur stands for partial volume.
    """
    for axis, size in enumerate(spacing_mm):
        matrix = slice_matrix(image.shape[axis], max(size, 1.3), draw.uniform(0, 1))
        image = along_axis(image, matrix.to(image.device), axis)
    return image


def slice_matrix(count: int, thickness: float, phase: float) -> Tensor:
    """(count, count): the mean over slices this thick (in voxels), then linear interpolation."""
    centres = torch.arange((phase - 1) * thickness, count + thickness, thickness)
    voxels = torch.arange(count, dtype=torch.float32)
    low = torch.maximum(voxels - 0.5, centres[:, None] - thickness / 2)
    high = torch.minimum(voxels + 0.5, centres[:, None] + thickness / 2)
    average = (high - low).clamp_(min=0)  # (slices, count)
    used = average.sum(1) > 1e-3
    average, centres = average[used], centres[used]
    average = average / average.sum(1, keepdim=True)
    if len(centres) == 1:
        return average.expand(count, count).contiguous()
    right = torch.searchsorted(centres, voxels).clamp_(1, len(centres) - 1)
    share = ((voxels - centres[right - 1]) / (centres[right] - centres[right - 1])).clamp_(0, 1)
    return average[right - 1] * (1 - share)[:, None] + average[right] * share[:, None]


def along_axis(image: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The matrix (n, n) applied along one axis of an image (K, J, I)."""
    return torch.movedim(torch.tensordot(matrix, image, dims=([1], [axis])), 0, axis).contiguous()


def moved(image: Tensor, draw: Draw) -> Tensor:
    """Part of the lines of k-space are of a head that lay up to 4 voxels further on."""
    axis = draw.integer(0, 3)
    shift = draw.uniform(1, 4)
    spectrum = torch.fft.rfft(image, dim=axis)
    lines = torch.arange(spectrum.shape[axis], device=image.device)
    first = draw.integer(2, max(3, spectrum.shape[axis] // 2))
    phase = torch.exp(-2j * torch.pi * lines * shift / image.shape[axis])
    phase = torch.where(lines >= first, phase, torch.ones_like(phase))
    shape = [1, 1, 1]
    shape[axis] = -1
    return torch.fft.irfft(spectrum * phase.reshape(shape), n=image.shape[axis], dim=axis)


def ghosted(image: Tensor, draw: Draw) -> Tensor:
    """A faint copy of the head, half or a third of the field away."""
    axis = draw.integer(0, 3)
    away = image.shape[axis] // draw.integer(2, 4)
    return image + image.roll(away, axis) * draw.uniform(0.02, 0.12)


def noisy(image: Tensor, draw: Draw, strongest: float) -> Tensor:
    """Gaussian noise, or, in half of all draws, Rician noise as in magnitude images."""
    strength = draw.uniform(0, strongest) if draw.chance(0.8) else 0.0
    noise = draw.noise(image.shape) * strength
    if draw.chance(0.5):
        return torch.hypot(image + noise, draw.noise(image.shape) * strength)
    return image + noise


def with_gamma(image: Tensor, log_gamma: float) -> Tensor:
    """Grey values, brought to 0 to 1, to the power of e to this."""
    low, high = image.min(), image.max()
    scaled = (image - low) / (high - low).clamp(min=1e-6)
    exponent = float(torch.exp(torch.tensor(log_gamma)))
    return scaled.pow_(exponent)
