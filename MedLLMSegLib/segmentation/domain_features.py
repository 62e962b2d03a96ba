"""The features by which a segmenter tells a scan of another domain: what its encoder makes of the
middle of what it looks at.

One window is enough: domains differ in contrast, resolution and part of the body, not in a corner.
It goes through the encoder alone, in torch and in float32, so that the features hang neither on the
size of the tiles nor on the engine and the precision that the scan is outlined in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama, pad_to_multiple
from MedLLMSegLib.registry.domain_reference import DomainReference
from MedLLMSegLib.registry.segmenter_settings import domain_window

from .loaded_segmenter import SegmenterModel
from .result_maps import RunResult


@torch.inference_mode()
def window_features(
    network: MedVisionLlama, array: Array, window: Triple, device: torch.device
) -> NDArray[np.float32]:
    """(F,): of each channel of each scale of the encoder the mean and the deviation over a window.

    array: float32 [k, j, i], prepared. window: of which the middle is taken, where the array is
    larger.
    """
    middle = _middle(np.asarray(array, np.float32), window)
    image = torch.from_numpy(np.ascontiguousarray(middle))[None, None].to(device)
    padded = pad_to_multiple(image, network.patch)  # (1, 1, K, J, I)
    volume, skips = network.embedding(padded)
    deepest, depths = network.encode(volume)
    pooled = [_pooled(scale) for scale in (*skips, *depths, deepest)]
    features: NDArray[np.float32] = torch.cat(pooled).cpu().numpy()
    return features


def _pooled(scale: Tensor) -> Tensor:
    """(1, C, k, j, i) -> (2 C,): the mean and the deviation of each channel."""
    voxels = scale[0].flatten(1).float()  # (C, n)
    return torch.cat([voxels.mean(1), voxels.std(1, correction=0)])


def _middle(array: Array, window: Triple) -> Array:
    """The part of an array [k, j, i] around its centre, no larger than the window."""
    starts = [max(0, (n - wanted) // 2) for n, wanted in zip(array.shape, window, strict=True)]
    spans = [
        slice(start, start + min(n, wanted))
        for start, n, wanted in zip(starts, array.shape, window, strict=True)
    ]
    return array[tuple(spans)]


def outline_features(model: SegmenterModel, array: Array) -> NDArray[np.float32] | None:
    """The features of what a model looks at; None of a model that knows no domain.

    array: as for `window_features`.
    """
    network = model.domain_network or model.network
    if model.domain is None or not isinstance(network, MedVisionLlama):
        return None
    k, j, i = array.shape
    window = domain_window(model.settings, (k, j, i))
    # not model.device: an engine's is the CPU, and inference may have moved the network
    device = next(network.parameters()).device
    return window_features(network, array, window, device)


def domain_notes(domain: DomainVerdict | None) -> tuple[str, ...]:
    """A sentence for the user on a scan of another domain; nothing on any other."""
    if domain is None or not domain.outside:
        return ()
    return (
        f"The scan is {domain.in_words}. How good the model is on such scans was not measured:"
        " check every outline.",
    )


def without_verdict_on_part(
    result: RunResult, model: SegmenterModel, searched: Volume, scan: Volume
) -> RunResult:
    """A result without a verdict on the domain where only a part of a scan was searched by a model
    whose reference is of whole organs: of those that it looks closer at. A part would be told to be
    outside.
    """
    is_part = searched.array.shape != scan.array.shape
    if not is_part or result.domain is None or model.settings.get("closer_look_mm") is None:
        return result
    note = "Whether the scan is of the model's domain was not asked, as only a region was searched."
    return replace(result, notes=(*result.notes, note), domain=None)


def scan_verdict(
    domain: DomainReference | None, looks: list[NDArray[np.float32] | None]
) -> DomainVerdict | None:
    """Of a scan, by all that a model looked at: the verdict on what lies farthest out.

    None where there is nothing to tell it by.
    """
    known = [features for features in looks if features is not None]
    if domain is None or not known:
        return None
    return max((domain.verdict(each) for each in known), key=lambda verdict: verdict.distance)
