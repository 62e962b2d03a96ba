"""`segment`: a scan in, a segmentation on its own grid out. The public function, whatever the
model.

The way of a scan, whatever the model: `outline` prepares a part of the scan and predicts it (a
model of whole scans looks once at everything, one of an organ looks where the localizer saw it);
`finish` restores each outline to the scan's grid, cleans it, and adds it to the maps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedLLMSegLib.anatomy.brain import is_whole_brain
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, sub_grid
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.data.channel_images import JOINED, images_in_file, join_channels
from MedLLMSegLib.engines.engine_names import TORCH
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.registry.segmenter_settings import window_for
from MedLLMSegLib.registry.trained_range import beyond_training

from .brain_checks import checked_head, with_doubts
from .domain_features import domain_notes, scan_verdict, without_verdict_on_part
from .expected_dice import expected_dice
from .finish import finish
from .hippocampus_parts import load_parts_model, with_hippocampus_parts
from .inference import cpu_fallback_stage, free_memory, memory_notes
from .intracranial import with_intracranial
from .loaded_segmenter import SegmenterModel, load_model
from .localize import SIDES, is_crop
from .outlines import in_body_order, outlines_of
from .precision import AUTO
from .prepare import Preparation, prepare_whole
from .quality.assess import with_quality
from .region import Region, cropped, not_whole, on_whole, region_named_in_errors
from .restore import restore_slabs
from .result_grid import on_grid, result_grid
from .result_maps import OutputRequest, ResultMaps, RunResult
from .selection import check_names, chosen_structures, names_of, only, with_missing
from .uncertainty import mean_probabilities

__all__ = [
    "SegmenterModel",
    "expected_structures",
    "load_model",
    "predict_probabilities",
    "segment",
]


def segment(
    volume: Volume | Sequence[Volume],
    model: str | Path | SegmenterModel = DEFAULT_SEGMENTER,
    *,
    device: str = "auto",
    side: str | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    augment: int = 0,
    precision: str = "auto",
    engine: str | None = None,
    resolution_mm: float | None = None,
    structures: str | Sequence[str] = (),
    region: Region | None = None,
    with_model: str | Path | SegmenterModel | None = None,
    progress: Report | None = None,
) -> Segmentation:
    """Segment one scan.

    volume: a 3D scan of any orientation and spacing; of a model that takes several images of a
    patient (`SegmenterModel.channels`), a list of them, in the model's order, or one volume
    [c, k, j, i] of as many. The others are brought onto the first one's grid, on which the result
    lies (`data.channel_images`). model: an
    id, a bundle's folder, or what `load_model` returned. device: see `choose_device`. side: "left"
    or "right", for models of an organ with two sides. For a crop around one organ it states which
    side that is (None: not known); in a whole head it asks for that side alone. probabilities: also
    return float32 maps [c, k, j, i] over the structures. uncertainty: also return a map [k, j, i]
    of the entropy of the class probabilities, 0 (sure) to 1. augment: this many more views of the
    scan (shifted, of another contrast, mirrored where the training was) are averaged with the plain
    one; each takes as long as the plain one. precision: see `load_model`; "auto" leaves a loaded
    model's as it is. engine: "torch", "openvino" or "onnx" (see `load_model`); None for torch, or a
    loaded model's. resolution_mm: of the result, if it is not to lie on the scan's own grid (see
    `result_grid`). structures: names or groups of the structures that the result is to have (see
    `selection.chosen_structures`); () for all. The others are left out of it, which saves no time.
    region: where to look; the scan is cropped to it first, and nothing is outlined outside.
    with_model: "hippocampus-t1" to divide the hippocampi that a model of the brain outlines into
    their parts (see `hippocampus_parts`), not with probabilities; None for nothing. progress:
    called with (stage, fraction done); may raise `Cancelled` to stop the work.

    Returns a `Segmentation` on the scan's own grid, or the one asked for. Raises `UserError` for a
    scan that cannot be segmented.
    """
    began = time.monotonic()
    if side not in (None, *SIDES):
        raise UserError(f'"{side}" is not a side; use left or right, or leave it out.')
    images = [volume] if isinstance(volume, Volume) else list(volume)
    if len(images) == 1 and images[0].array.ndim != 4:  # before the model is loaded
        check_scan(images[0])
    reporter = Progress.of(progress)
    reporter("load", 0.0)
    if not isinstance(model, SegmenterModel):
        model = load_model(model, device, precision, engine or TORCH)
    else:
        model = model.in_engine(engine) if engine else model
        model = model.with_precision(precision) if precision != AUTO else model
    volume = _one_volume(images, model)
    whole_grid = result_grid(volume, resolution_mm)
    searched, grid = volume, whole_grid
    if region is not None:
        searched = cropped(volume, region)
        check_scan(searched, len(model.channels))
        grid = sub_grid(whole_grid, region.box_on(whole_grid))
    names = names_of(structures)
    check_names(names, all_structures(model))
    parts = load_parts_model(with_model, model, names, device, probabilities)
    request = OutputRequest(grid, probabilities, uncertainty, augment)
    working, dividing = reporter.part(0.0, 0.8 if parts else 1.0), reporter.part(0.8, 1.0)
    with region_named_in_errors(region):
        result = _run_in_order(searched, model, side, request, working)
        result = without_verdict_on_part(result, model, searched, volume)
        segmentation = checked_head(searched, _segmentation(searched, grid, result, model))
    asked = chosen_structures(names, segmentation.structures) if names else ()
    segmentation = with_intracranial(searched, segmentation, asked)
    partial = not_whole(segmentation, region, whole_grid) if region is not None else frozenset()
    beyond = beyond_training(model.trained_range, volume)
    segmentation = with_quality(segmentation, model.quality, segmentation.domain, partial, beyond)
    if names:
        segmentation = only(segmentation, names)
    if not model.anatomy:
        segmentation = with_missing(segmentation)
    if is_whole_brain(model.structures):
        segmentation = with_doubts(segmentation)
    if parts is not None:
        segmentation = with_hippocampus_parts(searched, segmentation, parts, dividing)
    if region is not None:
        segmentation = on_whole(segmentation, volume, region, whole_grid)
    reporter("done", 1.0)
    return replace(segmentation, seconds=time.monotonic() - began)


def _one_volume(images: Sequence[Volume], model: SegmenterModel) -> Volume:
    """The images of a patient as the volume that a model looks at. Raises `UserError`."""
    count = len(model.channels)
    if len(images) == 1 and count > 1 and images[0].array.ndim == 4:
        if images[0].quantity == JOINED:
            check_scan(images[0], count)
            return images[0]
        images = images_in_file(images[0], model.channels, model.entry.id)
    if model.channels:
        return join_channels(images, model.channels, model.entry.id)
    if len(images) != 1:
        raise UserError(
            f'The model "{model.entry.id}" takes one image, and {len(images)} were given; name one'
            " of them."
        )
    if images[0].array.ndim == 4:
        check_scan(images[0])  # refuses a series
    return images[0]


def _segmentation(
    volume: Volume, grid: Grid, result: RunResult, model: SegmenterModel
) -> Segmentation:
    maps = result.maps
    return Segmentation(
        labels=on_grid(volume, grid, maps.labels),
        structures=result.structures,
        confidence=maps.confidence,
        probabilities=_map_volume(volume, grid, maps.probabilities, "probabilities"),
        notes=(*domain_notes(result.domain), *volume.notes, *result.notes),
        model=model.entry.id,
        uncertainty=_map_volume(volume, grid, maps.uncertainty, "uncertainty"),
        precision=result.precision,
        certainty=maps.certainty,
        expected_dice=expected_dice(maps.confidence, model.dice_lines),
        domain=result.domain,
    )


def expected_structures(volume: Volume, model: SegmenterModel) -> tuple[Structure, ...]:
    """The structures that a model looks for in this scan.

    In a crop around one organ they have no sides.
    """
    return model.structures_for(lateral=model.localizer is not None and not is_crop(volume))


def all_structures(model: SegmenterModel) -> tuple[Structure, ...]:
    """The structures that a model looks for in any scan: in a head, and in a crop of one organ."""
    return tuple(
        dict.fromkeys((*model.structures_for(lateral=True), *model.structures_for(lateral=False)))
    )


def _run_in_order(
    volume: Volume,
    model: SegmenterModel,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> RunResult:
    """Run the model on the scan in the body's order of axes, and give the maps in the stored one.

    So a scan gets the same labels to the voxel in whatever order its axes are stored. A model
    that looks along the scan's own axes, or in crops, gets the scan as it is.
    """
    order, ordered = in_body_order(volume, model)
    if order.changes_nothing:
        return _run_where_it_fits(volume, model, side, request, progress)
    there = replace(request, grid=order.ordered_grid(request.grid))
    result = _run_where_it_fits(ordered, model, side, there, progress)
    return replace(result, maps=result.maps.in_stored_order(order))


def _run_where_it_fits(
    volume: Volume,
    model: SegmenterModel,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> RunResult:
    """Run the model, on the CPU where the GPU could not do it; notes say so.

    `predict` has its own fallback. This one is for everything else, such as a GPU on which the
    localizer cannot run.
    """
    stages = set()

    def listen(stage: str, fraction: float) -> None:
        stages.add(stage)
        progress(stage, fraction)

    listener = Progress(listen)
    fallback_stage = None
    try:
        result = _run(volume, model, side, request, listener)
    except RuntimeError as error:
        fallback_stage = cpu_fallback_stage(error)
        if model.device.type == "cpu" or fallback_stage is None:
            raise
    if fallback_stage is not None:  # here the error and the memory that it held are gone
        free_memory(model.device)
        listener(fallback_stage, 0.0)
        on_cpu = replace(model, device=torch.device("cpu"))
        result = _run(volume, on_cpu, side, request, listener)
    notes = (*result.notes, *model.notes, *memory_notes(stages, model.device))
    return replace(result, notes=notes)


def _run(
    volume: Volume,
    model: SegmenterModel,
    side: str | None,
    request: OutputRequest,
    progress: Progress,
) -> RunResult:
    """Outline, then finish each outline."""
    outlining, finishing = progress.part(0.0, 0.85), progress.part(0.85, 1.0)
    outlines, notes = outlines_of(volume, model, side, request, outlining)
    structures = model.structures_for(lateral=outlines[0].side is not None)
    maps = ResultMaps.empty(structures, request)
    for outlined, part in zip(outlines, finishing.parts(len(outlines)), strict=True):
        finish(maps, outlined, model, part)
    if model.anatomy and all(np.isnan(maps.confidence[s.label]) for s in structures):
        raise UserError(
            f'No {model.anatomy} was found in "{volume.name}"; check that it is a T1 MRI of the'
            " head."
        )
    domain = scan_verdict(model.domain, [outlined.features for outlined in outlines])
    return RunResult(structures, maps, notes, outlines[-1].precision, domain)


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
        network, array, device, window_for(settings, way_back.crop.shape), progress=progress
    )
    result = np.zeros((len(probabilities), *volume.grid.shape), np.float32)
    result[0] = 1
    for values, box in restore_slabs(probabilities, way_back):
        result[(slice(None), *box)] = values
    return result


def _map_volume(volume: Volume, grid: Grid, array: Array | None, contents: str) -> Volume | None:
    """A map on the grid of the result, named after the scan."""
    return None if array is None else on_grid(volume, grid, array, f"{volume.name} {contents}")
