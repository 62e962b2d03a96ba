"""The product's functions that the rows measure: where one moves, only this file changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MedLLMSegLib.anatomy.structures import uncoded_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.engines.graph import BF16, FP32
from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.segmentation.inference import choose_device, predict_scores
from MedLLMSegLib.segmentation.pipeline import SegmenterModel, load_model, segment
from MedLLMSegLib.segmentation.precision import cpu_has_bf16
from MedLLMSegLib.segmentation.prepare import Restore
from MedLLMSegLib.segmentation.restore import softmax
from MedLLMSegLib.segmentation.scores import Reading, ScoresGather
from MedLLMSegLib.segmentation.way_back import find_on_scan, reach_of

from .phantoms import GREY_AIR, GREY_STEP
from .row import NotMeasured

__all__ = ["resample"]

OVERLAP = 0.5  # of the windows of `predict_scores`
# Lowest and highest value, mean and deviation: turns a phantom scan back into its body's values
FREE_GREY = (-1100.0, 30000.0, GREY_AIR, GREY_STEP)


def labels_in_windows(
    network: nn.Module, array: Array, classes: int, device: str, window: Triple
) -> NDArray[np.uint8]:
    """A prepared array [k, j, i] through a network in windows: labels on the network's grid, and
    what the way back needs.
    """
    scores = predict_scores(
        network,
        array,
        choose_device(device),
        window,
        reading=Reading(classes),
        reach=(1, 1, 1),
    )
    labels: NDArray[np.uint8] = scores.winner.cpu().numpy()
    return labels


def labels_on_scan(
    logits: NDArray[np.float32], crop: Grid, scan: Grid
) -> tuple[NDArray[np.uint8], Array]:
    """Logits [c, k, j, i] on the network's grid -> labels and the winner's probability [k, j, i]
    on the scan's.
    """
    way_back = Restore(scan, crop)
    with torch.inference_mode():
        gather = ScoresGather(Reading(len(logits)), reach_of(way_back), crop.shape)
        gather.add(torch.from_numpy(logits))
        found = find_on_scan(gather.finish(), way_back, Progress())
    labels, certainty = np.zeros(scan.shape, np.uint8), np.zeros(scan.shape, np.float16)
    labels[found.box], certainty[found.box] = found.numbers, found.certainty
    return labels, certainty


def interpolated(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the product interpolates on the way back: the class probabilities."""
    return softmax(logits)


def whole_scan_model(
    network: nn.Module, classes: int, spacing_mm: float, window: Triple, device: str
) -> SegmenterModel:
    """A network as a model of whole phantom scans, in no bundle."""
    settings = {"spacing_mm": spacing_mm, "window": list(window), "grey": FREE_GREY, "flips": ()}
    torch_device = choose_device(device)
    return SegmenterModel(
        entry=ModelEntry("free", "", "segmenter", "", (), "", "", "0" * 64, Path()),
        network=network.eval().to(torch_device),
        settings=settings,
        anatomy=None,
        localizer=None,
        device=torch_device,
        sha256="0" * 64,
        structures=uncoded_structures({n: f"thing {n}" for n in range(1, classes)}),
    )


def shipped_model(name: str, device: str, precision: str = "auto") -> SegmenterModel:
    """A shipped model. Raises `NotMeasured` where it cannot be used, as without its licence."""
    try:
        return load_model(name, device, precision)
    except UserError as error:
        raise NotMeasured(str(error)) from error


def fast_precision() -> str:
    """bf16 where the processor has it. A model's own decision would need a scan that it knows."""
    return BF16 if cpu_has_bf16() else FP32


def run_model(model: SegmenterModel, volume: Volume) -> Segmentation:
    """A scan in, labels on its own grid out."""
    return segment(volume, model)


@dataclass(frozen=True)
class _Pass:
    """One pass through a network: what went in, and whether autocast was on."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    autocast: bool


def networks_alone(model: SegmenterModel, volume: Volume) -> Callable[[], None]:
    """Exactly the passes through networks that a scan takes, and nothing else.

    A run is recorded first; what is returned repeats its passes.
    """
    passes: list[_Pass] = []
    networks = [model.network, *([model.localizer.network] if model.localizer else [])]
    device_type = model.device.type

    def record(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept = tuple(each.detach().clone() for each in inputs)
        passes.append(_Pass(network, kept, torch.is_autocast_enabled(device_type)))

    hooks = [network.register_forward_pre_hook(record) for network in networks]
    try:
        run_model(model, volume)
    finally:
        for hook in hooks:
            hook.remove()

    @torch.inference_mode()
    def repeat() -> None:
        for each in passes:
            with torch.autocast(device_type, torch.bfloat16, enabled=each.autocast):
                each.network(*each.inputs)

    return repeat


def as_whole_scan(model: SegmenterModel, window: Triple, spacing_mm: float) -> SegmenterModel:
    """A shipped model of crops run over a whole scan in windows, without its localizer."""
    return replace(
        model,
        anatomy=None,
        localizer=None,
        structures=model.structures_for(lateral=False),
        settings={"spacing_mm": spacing_mm, "window": list(window), "flips": ()},
    )
