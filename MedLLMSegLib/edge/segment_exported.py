"""A scan through an exported model of whole scans to a segmentation on its own grid. No torch.

The chain is that of `segmentation.pipeline`, and so are its parts but two: the network is a graph,
and the way back interpolates every class, where the library looks first at which voxels need it.
Both ways give the same labels. Nobody looks here at whether the scan is of another domain.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from MedLLMSegLib.anatomy.brain import is_whole_brain
from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, sub_grid
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule, window_for
from MedLLMSegLib.registry.trained_range import TrainedRange, beyond_training
from MedLLMSegLib.segmentation.brain_checks import checked_head, with_doubts
from MedLLMSegLib.segmentation.closer_look import closer_grid
from MedLLMSegLib.segmentation.expected_dice import expected_dice, read_lines
from MedLLMSegLib.segmentation.found import Found, add_labels
from MedLLMSegLib.segmentation.intracranial import with_intracranial
from MedLLMSegLib.segmentation.prepare import Preparation, Restore, checked_whole_grid, prepare
from MedLLMSegLib.segmentation.quality.assess import with_quality
from MedLLMSegLib.segmentation.region import (
    Region,
    cropped,
    not_whole,
    on_whole,
    region_named_in_errors,
)
from MedLLMSegLib.segmentation.restore import restore_slabs
from MedLLMSegLib.segmentation.result_grid import on_grid, result_grid
from MedLLMSegLib.segmentation.result_maps import OutputRequest, ResultMaps
from MedLLMSegLib.segmentation.selection import (
    check_names,
    chosen_structures,
    names_of,
    only,
    with_missing,
)

from .exported_folder import ExportedModel
from .exported_network import ExportedNetwork, SeenLogits

SLAB_BYTES = 64e6  # of interpolated values that are held at once


def segment_exported(
    volume: Volume,
    model: ExportedModel,
    network: ExportedNetwork,
    *,
    resolution_mm: float | None = None,
    structures: str | Sequence[str] = (),
    region: Region | None = None,
    progress: Report | None = None,
) -> Segmentation:
    """Segment one 3D scan; the arguments are those of `segmentation.pipeline.segment`.

    network: of the model, opened once for many scans. Raises `UserError` for a scan that cannot be
    segmented, and for a model of another kind than one of whole scans.
    """
    began = time.monotonic()
    check_exported_segmenter(model)
    check_scan(volume)
    names = names_of(structures)
    check_names(names, model.structures)
    whole = result_grid(volume, resolution_mm)
    searched, grid = volume, whole
    if region is not None:
        searched = cropped(volume, region)
        check_scan(searched)
        grid = sub_grid(whole, region.box_on(whole))
    with region_named_in_errors(region):
        maps = _in_body_order(searched, model, network, grid, Progress.of(progress))
        result = checked_head(searched, _segmentation(searched, grid, maps, model, network))
    result = with_intracranial(
        searched, result, chosen_structures(names, result.structures) if names else ()
    )
    partial = not_whole(result, region, whole) if region is not None else frozenset()
    beyond = beyond_training(TrainedRange.of_bundle(model.about), volume)
    result = with_quality(result, model.quality, not_whole=partial, beyond=beyond)
    result = with_missing(only(result, names) if names else result)
    if is_whole_brain(model.structures):
        result = with_doubts(result)
    if region is not None:
        result = on_whole(result, volume, region, whole)
    return replace(result, seconds=time.monotonic() - began)


def check_exported_segmenter(model: ExportedModel) -> None:
    """Raise `UserError` for a model that this chain does not run."""
    is_whole = model.about.get("kind") == "segmenter" and not model.about.get("anatomy")
    if is_whole and model.about["network"].get("in_channels", 1) == 1:
        return
    raise UserError(
        f'The exported model "{model.id}" is not one of single whole scans, and only those run'
        f" without torch; with torch use --model {model.id} --engine {model.engine}."
    )


def _segmentation(
    volume: Volume, grid: Grid, maps: ResultMaps, model: ExportedModel, network: ExportedNetwork
) -> Segmentation:
    return Segmentation(
        labels=on_grid(volume, grid, maps.labels),
        structures=model.structures,
        confidence=maps.confidence,
        notes=volume.notes,
        model=model.id,
        precision=network.precision if model.weights == "fp32" else model.weights,
        certainty=maps.certainty,
        expected_dice=expected_dice(maps.confidence, read_lines(model.about)),
    )


def _in_body_order(
    volume: Volume, model: ExportedModel, network: ExportedNetwork, grid: Grid, progress: Progress
) -> ResultMaps:
    """As `pipeline` does: a scan gets the same labels in whatever order its axes are stored."""
    order = AxisOrder.of(volume.grid)
    if order.changes_nothing or model.settings.get("axes", "ras") != "ras":
        return _maps(volume, model, network, grid, progress)
    ordered = replace(
        volume,
        array=np.ascontiguousarray(order.ordered(volume.array)),
        ijk_to_ras=order.ordered_grid(volume.grid).ijk_to_ras,
        forms=None,
    )
    maps = _maps(ordered, model, network, order.ordered_grid(grid), progress)
    return maps.in_stored_order(order)


def _maps(
    volume: Volume, model: ExportedModel, network: ExportedNetwork, grid: Grid, progress: Progress
) -> ResultMaps:
    looking, finishing = progress.part(0.0, 0.8), progress.part(0.8, 1.0)
    seen, way_back = _seen(volume, model, network, grid, looking)
    maps = ResultMaps.empty(model.structures, OutputRequest(grid))
    found = _found(seen, way_back, model, finishing)
    add_labels(maps, found, model.label_of_number, largest_part_rule(model.settings))
    return maps


def _seen(
    volume: Volume, model: ExportedModel, network: ExportedNetwork, grid: Grid, progress: Progress
) -> tuple[SeenLogits, Restore]:
    """What the network sees in a whole scan, at a closer look where the model asks for one."""
    preparation = Preparation.from_settings(model.settings)

    def look(crop: Grid, part: Progress) -> tuple[SeenLogits, Restore]:
        array, _ = prepare(volume, crop, *preparation.scales)
        window = window_for(model.settings, crop.shape)
        return network.look(array, window, part), Restore(grid, crop)

    whole = checked_whole_grid(volume, preparation)
    first = look(whole, progress.part(0.0, 0.7))
    if model.settings.get("closer_look_mm") is None:
        return first
    winner = np.concatenate([model.reading.winners(slab) for _, slab in first[0].slabs()])
    closer = closer_grid(winner, whole, model.settings)
    if closer is None:
        return first
    del first, winner  # their memory is needed
    return look(closer, progress.part(0.7, 1.0))


def _found(seen: SeenLogits, way_back: Restore, model: ExportedModel, progress: Progress) -> Found:
    """The winners of the scan's own voxels."""
    reading = model.reading
    values: np.ndarray | None = None
    for first, slab in seen.slabs():
        part = reading.values_in_place(np.array(slab))
        if values is None:
            values = np.empty((len(part), *seen.shape), np.float32)
        values[:, first : first + part.shape[1]] = part
    assert values is not None
    shape = way_back.scan.shape
    numbers, certainty = np.zeros(shape, np.uint8), np.zeros(shape, np.float16)
    for slab, box in restore_slabs(values, way_back, SLAB_BYTES):
        progress("restore", box[0].start / max(1, shape[0]))
        numbers[box], certainty[box] = reading.winners_of_values(slab)
    k, j, i = (slice(0, n) for n in shape)
    return Found((k, j, i), numbers, certainty)
