"""Models of whole scans: the scan on the network's grid, in windows, and back in slabs, so that
large scans fit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule, window_shape

from .loaded_segmenter import SegmenterModel
from .prepare import Preparation, prepare_whole
from .restore import keep_largest, restore_slabs
from .result_maps import OutputRequest, ResultMaps
from .uncertainty import entropy, make_views, mean_probabilities


def segment_whole(
    volume: Volume, model: SegmenterModel, wanted: OutputRequest, report: Report
) -> tuple[ResultMaps, tuple[str, ...]]:
    """Everything that a whole-scan model finds, and notes about what it did not find."""
    settings = model.settings
    array, way_back = prepare_whole(volume, Preparation.from_settings(settings))
    views = make_views(wanted.augment, array.shape, settings.get("flips", ()))
    probabilities = mean_probabilities(
        model.network,
        array,
        model.device,
        window_shape(settings),
        temperature=model.temperature,
        views=views,
        progress=lambda stage, f: report(stage, 0.8 * f),
    )
    maps = ResultMaps.empty(volume.array.shape, model.structures, wanted)
    values_of = np.array([0, *(s.label for s in model.structures)], np.uint8)
    sure = np.zeros(volume.array.shape, np.float16)  # probability of the winner
    for values, box in restore_slabs(
        probabilities, way_back, labels_alone=not (wanted.probabilities or wanted.uncertainty)
    ):
        report("restore", 0.8 + 0.2 * box[0].start / len(maps.labels))
        maps.labels[box] = values_of[values.argmax(axis=0)]
        sure[box] = values.max(axis=0)
        if maps.probabilities is not None:
            maps.probabilities[(slice(None), *box)] = values[1:]
        if maps.uncertainty is not None:
            maps.uncertainty[box] = entropy(values)
    if how := largest_part_rule(settings):
        maps.labels[...] = keep_largest(maps.labels, how)
    for s in model.structures:
        own = sure[maps.labels == s.label]
        if own.size:
            maps.confidence[s.label] = float(own.mean(dtype=np.float64))
    missing = [s.name.lower() for s in model.structures if np.isnan(maps.confidence[s.label])]
    return maps, (f"Not found in this scan: {', '.join(missing)}.",) if missing else ()


def predict_probabilities(
    network: nn.Module,
    volume: Volume,
    settings: dict,
    device: torch.device,
    progress: Report | None = None,
) -> np.ndarray:
    """Class probabilities float32 [c, k, j, i] on a whole scan's own grid, of a network that is in
    no bundle yet.

    settings: as a bundle's "preprocessing". Neither localizer nor temperature nor cleaning takes
    part.
    """
    array, way_back = prepare_whole(volume, Preparation.from_settings(settings))
    probabilities = mean_probabilities(
        network, array, device, window_shape(settings), progress=progress
    )
    result = np.zeros((len(probabilities), *volume.array.shape), np.float32)
    result[0] = 1
    for values, box in restore_slabs(probabilities, way_back):
        result[(slice(None), *box)] = values
    return result
