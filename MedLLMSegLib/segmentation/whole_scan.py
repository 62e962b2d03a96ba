"""Models of whole scans: the scan on the network's grid, in windows, and back in slabs, so that
large scans fit.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule, window_shape

from .loaded_segmenter import SegmenterModel
from .prepare import Preparation, Restore, prepare_whole
from .restore import keep_largest, restore_slabs
from .result_maps import OutputRequest, ResultMaps, RunResult
from .uncertainty import entropy, make_views, mean_probabilities


def segment_whole(
    volume: Volume, model: SegmenterModel, request: OutputRequest, progress: Progress
) -> RunResult:
    """Everything that a whole-scan model finds, with a note on what it did not find."""
    settings = model.settings
    array, way_in = prepare_whole(volume, Preparation.from_settings(settings))
    way_back = Restore(request.grid, way_in.crop)
    window, inference = window_shape(settings), progress.part(0.0, 0.8)
    precision = model.precision_for(array, window, inference)
    probabilities = mean_probabilities(
        model.network,
        array,
        model.device,
        window,
        precision=precision.name,
        temperature=model.temperature,
        views=make_views(request.augment, array.shape, settings.get("flips", ())),
        progress=inference,
    )
    maps = ResultMaps.empty(model.structures, request)
    winner_probability = _fill_maps(maps, probabilities, way_back, model, progress.part(0.8, 1.0))
    rule = largest_part_rule(settings)
    if rule:
        maps.labels[...] = keep_largest(maps.labels, rule)
    for structure in model.structures:
        own = winner_probability[maps.labels == structure.label]
        if own.size:
            maps.confidence[structure.label] = float(own.mean(dtype=np.float64))
    missing = [s.name.lower() for s in model.structures if np.isnan(maps.confidence[s.label])]
    notes = (f"Not found in this scan: {', '.join(missing)}.",) if missing else ()
    return RunResult(model.structures, maps, notes, precision.name)


def _fill_maps(
    maps: ResultMaps,
    probabilities: Array,
    way_back: Restore,
    model: SegmenterModel,
    progress: Progress,
) -> NDArray[np.float16]:
    """Fill in the maps slab by slab; returns the winner's probability [k, j, i]."""
    label_of_class = np.array([0, *(s.label for s in model.structures)], np.uint8)
    winner_probability = np.zeros(maps.labels.shape, np.float16)
    labels_alone = maps.probabilities is None and maps.uncertainty is None
    for values, box in restore_slabs(probabilities, way_back, labels_alone=labels_alone):
        progress("restore", box[0].start / len(maps.labels))
        maps.labels[box] = label_of_class[values.argmax(axis=0)]
        winner_probability[box] = values.max(axis=0)
        if maps.probabilities is not None:
            maps.probabilities[(slice(None), *box)] = values[1:]
        if maps.uncertainty is not None:
            maps.uncertainty[box] = entropy(values)
    return winner_probability


def predict_probabilities(
    network: nn.Module,
    volume: Volume,
    settings: Json,
    device: torch.device,
    progress: Report | None = None,
) -> NDArray[np.float32]:
    """Class probabilities float32 [c, k, j, i] on a whole scan's own grid.

    For a network that is in no bundle yet. settings: as a bundle's "preprocessing". Neither
    localizer nor temperature nor cleaning takes part.
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
