"""`segment`: a scan in, a segmentation on its own grid out. The public function, whatever the
model.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from MedLLMSegLib.anatomy.structures import STRUCTURES_OF_ANATOMY
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER

from .cascade import segment_sides
from .inference import cpu_fallback_stage, free_memory, memory_notes
from .loaded_segmenter import SegmenterModel, load_model
from .localize import SIDES, is_crop
from .result_maps import OutputRequest, ResultMaps
from .whole_scan import predict_probabilities, segment_whole

__all__ = [
    "SegmenterModel",
    "load_model",
    "expected_structures",
    "predict_probabilities",
    "segment",
]


def segment(
    volume: Volume,
    model: str | Path | SegmenterModel = DEFAULT_SEGMENTER,
    *,
    device: str = "auto",
    side: str | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    augment: int = 0,
    progress: Report | None = None,
) -> Segmentation:
    """Segment one scan.

    volume: a 3D scan of any orientation and spacing. model: an id, a bundle's folder, or what
    `load_model` returned. side: "left" or "right", for models of an organ with two sides; for a
    crop around one organ it says which side that is (None: not known), in a whole head it asks for
    that side alone. probabilities: also return float32 maps [c, k, j, i] over the structures.
    uncertainty: also return a map [k, j, i] of the entropy of the class probabilities, 0 (sure) to
    1. augment: so many more views of the scan (shifted, of another contrast, mirrored where the
    training was) are averaged with the plain one; each takes as long as it. progress: called with
    (stage, fraction done); may raise `Cancelled` to stop the work. Returns a `Segmentation` on the
    scan's own grid. Raises `UserError` for a scan that cannot be segmented.
    """
    began = time.monotonic()
    if side not in (None, *SIDES):
        raise UserError(f'"{side}" is no side; use left or right, or leave it out.')
    check_scan(volume)
    report = progress or (lambda stage, fraction: None)
    report("load", 0.0)
    model = model if isinstance(model, SegmenterModel) else load_model(model, device)
    structures, maps, notes = _run_where_it_fits(
        volume, model, side, OutputRequest(probabilities, uncertainty, augment), report
    )
    report("done", 1.0)
    return Segmentation(
        volume.with_array(maps.labels),
        structures,
        maps.confidence,
        _beside(volume, maps.probabilities, "probabilities"),
        notes,
        model.entry.id,
        time.monotonic() - began,
        _beside(volume, maps.uncertainty, "uncertainty"),
    )


def expected_structures(volume: Volume, model: SegmenterModel) -> tuple[Structure, ...]:
    """The structures that a model looks for in this scan: of a crop around one organ, no sides."""
    if not model.anatomy:
        return model.structures
    return STRUCTURES_OF_ANATOMY[model.anatomy](
        lateral=model.localizer is not None and not is_crop(volume)
    )


def _run_where_it_fits(
    volume: Volume, model: SegmenterModel, side: str | None, wanted: OutputRequest, report: Report
):
    """The run, on the CPU where `predict` alone could not help (a GPU on which the localizer
    cannot run); notes say what was done.
    """
    stages = set()

    def listen(stage: str, fraction: float) -> None:
        stages.add(stage)
        report(stage, fraction)

    try:
        structures, maps, notes = _run(volume, model, side, wanted, listen)
    except RuntimeError as error:
        maps, why = None, cpu_fallback_stage(error)
        if model.device.type == "cpu" or not why:
            raise
    if maps is None:  # here, as the error and the memory it held are gone
        free_memory(model.device)
        listen(why, 0.0)
        structures, maps, notes = _run(
            volume, replace(model, device=torch.device("cpu")), side, wanted, listen
        )
    return structures, maps, (*notes, *model.notes, *memory_notes(stages, model.device))


def _run(
    volume: Volume, model: SegmenterModel, side: str | None, wanted: OutputRequest, report: Report
) -> tuple[tuple[Structure, ...], ResultMaps, tuple[str, ...]]:
    if model.anatomy:
        return segment_sides(volume, model, side, wanted, report)
    if side:
        raise UserError(
            f'The model "{model.entry.id}" outlines no left and right organ, so no side can be'
            " asked for; leave the side out."
        )
    return (model.structures, *segment_whole(volume, model, wanted, report))


def _beside(volume: Volume, array, what: str) -> Volume | None:
    return None if array is None else volume.with_array(array, f"{volume.name} {what}")
