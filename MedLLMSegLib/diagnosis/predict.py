"""`diagnose`: an image in, probabilities and a heat map out. The public function, whatever the
classifier.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER
from MedLLMSegLib.segmentation.inference import cpu_fallback_stage, free_memory, memory_notes

from .heat_map import grad_cam
from .inputs import PreparedInput, prepare_input
from .loaded_classifier import ClassifierModel, load_classifier
from .result import Diagnosis

CLOSE = 0.05  # so near to the threshold, a note says so


def diagnose(
    image,
    model: str | Path | ClassifierModel = DEFAULT_CLASSIFIER,
    *,
    device: str = "auto",
    lungs=None,
    window: int | None = None,
    record: Mapping[str, object] | None = None,
    view: str = "",
    heat_map: bool = True,
    progress: Report | None = None,
) -> Diagnosis:
    """Tell which of a model's classes an image belongs to, and where in the image that comes from.

    image: a file's path, a `Volume` or a `Radiograph`: one flat image for models of radiographs, of
    several channels a list of them in order, None for one that is missing; one volume for models of
    slices; for models of frames a list of volumes in order, or one with four axes [t, k, j, i].
    model: an id, a bundle's folder, or what `load_classifier` returned. lungs: a mask (a path, a
    volume, or bool (rows, columns)) to whose rectangle a radiograph is cropped; None: the whole
    image. window: which of a DICOM file's windows, from 1 (of several channels the first one's).
    record: field -> value, for models that read one; "" if not known. view: of a radiograph, "PA",
    "AP" or "lateral", where it states none itself; "" if not known. heat_map: also make the map.
    progress: called with (stage, fraction done); may raise `Cancelled` to stop the work. Raises
    `UserError` for what the model cannot be given.
    """
    began = time.monotonic()
    report = progress or (lambda stage, fraction: None)
    report("load", 0.0)
    model = model if isinstance(model, ClassifierModel) else load_classifier(model, device)
    report("read", 0.3)
    found = prepare_input(image, model, lungs, window, record, view)
    report("diagnose", 0.6)
    logits, maps, notes = _run_where_it_fits(model, found, heat_map, report)
    report("done", 1.0)
    return _answer(model, found, logits, maps, notes, time.monotonic() - began)


def _run_where_it_fits(
    model: ClassifierModel, found: PreparedInput, heat_map: bool, report: Report
):
    """(logits (classes,), maps (N, h, w) or None, notes); on the CPU where a GPU did not do."""
    try:
        return (*_run(model, found, heat_map), model.notes)
    except RuntimeError as error:
        why = cpu_fallback_stage(error)
        if model.device.type == "cpu" or not why:
            raise
    free_memory(model.device)
    report(why, 0.6)
    before, network = model.device, model.network
    try:
        logits, maps = _run(
            replace(model, network=network.to("cpu"), device=torch.device("cpu")), found, heat_map
        )
    finally:
        network.to(before)
    return logits, maps, (*model.notes, *memory_notes([why], before))


def _run(
    model: ClassifierModel, found: PreparedInput, heat_map: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    batch = {key: value.to(model.device) for key, value in found.batch.items()}
    if not heat_map:
        with torch.inference_mode():
            return model.network(batch)[0].float().cpu().numpy(), None
    logits, maps = grad_cam(model.network, batch, _looked_for(model))
    return logits[0].float().cpu().numpy(), maps.float().cpu().numpy()


def _looked_for(model: ClassifierModel) -> int | None:
    """The class that a heat map is of: the second of two; with more (None), the likeliest."""
    return 1 if len(model.classes) == 2 else None


def _answer(
    model: ClassifierModel,
    found: PreparedInput,
    logits: np.ndarray,
    maps: np.ndarray | None,
    notes: tuple[str, ...],
    seconds: float,
) -> Diagnosis:
    scaled = logits.astype(np.float64) / model.temperature
    chances = np.exp(scaled - scaled.max())
    chances /= chances.sum()
    threshold = model.threshold if len(model.classes) == 2 else None
    decided = int(chances.argmax()) if threshold is None else int(chances[1] >= threshold)
    target = _looked_for(model) or int(logits.argmax())
    notes = (*found.notes, *notes)
    if threshold is not None and abs(chances[1] - threshold) < CLOSE:
        notes += (
            (
                f"The probability of {model.classes[1]} ({chances[1]:.2f}) is close to the"
                f" threshold ({threshold:.2f}): it could be either."
            ),
        )
    heat = None
    if maps is not None and not len(maps):
        notes += ("There is no heat map, as the first of the model's channels is missing.",)
    elif maps is not None:
        heat, empty = _heat(found, maps)
        notes += (
            (f"Nothing in the image speaks for {model.classes[target]}, so the heat map is empty.",)
            if empty
            else ()
        )
    return Diagnosis(
        {name: float(p) for name, p in zip(model.classes, chances)},
        model.classes[decided],
        threshold,
        float(chances[decided]),
        heat,
        model.classes[target] if heat is not None else "",
        found.volume,
        found.shown,
        found.shown_slice,
        notes,
        model.entry.id,
        seconds,
        found.orientation,
    )


def _heat(found: PreparedInput, maps: np.ndarray) -> tuple[Volume, bool]:
    """(the maps on the image's grid, the highest place 1; whether they are zero everywhere)"""
    array = found.to_volume(maps).astype(np.float32)
    highest = float(array.max())
    array = array / highest if highest > 0 else array
    return found.volume.with_array(array, f"{found.volume.name} heat map"), not highest > 0
