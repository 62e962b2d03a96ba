"""`diagnose`: an image in, probabilities and a heat map out. The public function, whatever the
classifier.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.diagnosis.inputs.prepare_input import prepare_input
from MedLLMSegLib.diagnosis.inputs.prepared_input import ImageSources, MaskSource, PreparedInput
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER
from MedLLMSegLib.segmentation.inference import cpu_fallback_stage, free_memory, memory_notes

from .domain_features import encoder_tap
from .heat_map import grad_cam
from .loaded_classifier import ClassifierModel, load_classifier
from .result import Diagnosis

CLOSE_TO_THRESHOLD = 0.05  # a probability this near to the threshold gets a note


@dataclass(frozen=True, eq=False)
class _NetworkOutput:
    """logits: (classes,). maps: (N, h, w) of Grad-CAM, or None if not requested.
    features: (F,) of the encoder, or None where no image went through it.
    """

    logits: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    features: NDArray[np.float32] | None
    notes: tuple[str, ...] = ()


def diagnose(
    image: ImageSources,
    model: str | Path | ClassifierModel = DEFAULT_CLASSIFIER,
    *,
    device: str = "auto",
    lungs: MaskSource | None = None,
    window: int | None = None,
    record: Mapping[str, object] | None = None,
    view: str = "",
    heat_map: bool = True,
    progress: Report | None = None,
) -> Diagnosis:
    """Classify an image, and show where in the image the answer comes from.

    image: a file's path, a `Volume` or a `Radiograph`. Models of radiographs take one flat image;
    those of several channels a list in order, with None for a missing one. Models of slices take
    one volume; models of frames a list of volumes in order, or one with four axes [t, k, j, i].
    model: an id, a bundle's folder, or what `load_classifier` returned. device: see
    `choose_device`. lungs: a mask (a path, a volume, or bool (rows, columns)) to whose rectangle a
    radiograph is cropped; None: the whole image. window: which of a DICOM file's windows, from 1
    (of several channels, the first one's). record: field -> value, for models that read one; "" if
    not known. view: of a radiograph, "PA", "AP" or "lateral", where its file states none; "" if
    not known. heat_map: also make the map. progress: called with (stage, fraction done); may raise
    `Cancelled` to stop the work. Raises `UserError` for an input that the model does not take.
    """
    began = time.monotonic()
    reporter = Progress.of(progress)
    reporter("load", 0.0)
    if not isinstance(model, ClassifierModel):
        model = load_classifier(model, device)
    reporter("read", 0.3)
    prepared = prepare_input(image, model, lungs, window, record, view)
    reporter("diagnose", 0.6)
    output = _run_where_it_fits(model, prepared, heat_map, reporter)
    reporter("done", 1.0)
    return _diagnosis(model, prepared, output, time.monotonic() - began)


def _run_where_it_fits(
    model: ClassifierModel, prepared: PreparedInput, heat_map: bool, progress: Progress
) -> _NetworkOutput:
    """Run the network, on the CPU where the GPU could not do it; notes say so."""
    try:
        output = _run(model, prepared, heat_map)
        return replace(output, notes=model.notes)
    except RuntimeError as error:
        fallback_stage = cpu_fallback_stage(error)
        if model.device.type == "cpu" or fallback_stage is None:
            raise
    free_memory(model.device)
    progress(fallback_stage, 0.6)
    try:
        on_cpu = replace(model, network=model.network.to("cpu"), device=torch.device("cpu"))
        output = _run(on_cpu, prepared, heat_map)
    finally:
        model.network.to(model.device)
    return replace(output, notes=(*model.notes, *memory_notes([fallback_stage], model.device)))


def _run(model: ClassifierModel, prepared: PreparedInput, heat_map: bool) -> _NetworkOutput:
    batch = {name: tensor.to(model.device) for name, tensor in prepared.batch.items()}
    maps: NDArray[np.float32] | None = None
    with encoder_tap(model.network) as tap:
        if heat_map:
            logits, evidence = grad_cam(model.network, batch, _heat_map_class(model))
            maps = evidence.float().cpu().numpy()
        else:
            with torch.inference_mode():
                logits = model.network(batch)
    return _NetworkOutput(logits[0].float().cpu().numpy(), maps, tap.mean())


def _heat_map_class(model: ClassifierModel) -> int | None:
    """The class of the heat map: the second of two; with more classes None, for the likeliest."""
    return 1 if len(model.classes) == 2 else None


def _diagnosis(
    model: ClassifierModel, prepared: PreparedInput, output: _NetworkOutput, seconds: float
) -> Diagnosis:
    probabilities = _calibrated(output.logits, model.temperature)
    threshold = model.threshold if len(model.classes) == 2 else None
    if threshold is None:
        answer = int(probabilities.argmax())
    else:
        answer = int(probabilities[1] >= threshold)
    heat_class = model.classes[_heat_map_class(model) or int(output.logits.argmax())]
    heat_map, heat_notes = _heat_map(prepared, output.maps, heat_class)
    domain = _domain(model, output.features)
    return Diagnosis(
        probabilities={
            name: float(p) for name, p in zip(model.classes, probabilities, strict=True)
        },
        answer=model.classes[answer],
        threshold=threshold,
        confidence=float(probabilities[answer]),
        heat_map=heat_map,
        heat_class=heat_class if heat_map is not None else "",
        image=prepared.volume,
        shown=prepared.shown,
        shown_slice=prepared.shown_slice,
        notes=(
            *_domain_notes(domain),
            *prepared.notes,
            *output.notes,
            *_threshold_notes(model, probabilities, threshold),
            *heat_notes,
        ),
        model=model.entry.id,
        seconds=seconds,
        orientation=prepared.orientation,
        domain=domain,
    )


def _domain(model: ClassifierModel, features: Array | None) -> DomainVerdict | None:
    """Whether the image is of the model's domain; None where there is nothing to tell it by."""
    if model.domain is None or features is None:
        return None
    return model.domain.verdict(features)


def _domain_notes(domain: DomainVerdict | None) -> tuple[str, ...]:
    if domain is None or not domain.outside:
        return ()
    return (
        f"{domain.in_words[0].upper()}{domain.in_words[1:]}. How good the model is on such images"
        " was not measured: its probability may mean nothing.",
    )


def _calibrated(logits: Array, temperature: float) -> NDArray[np.float64]:
    """Softmax of the logits divided by the temperature: (classes,)."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max())
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities


def _threshold_notes(
    model: ClassifierModel, probabilities: Array, threshold: float | None
) -> tuple[str, ...]:
    if threshold is None or abs(probabilities[1] - threshold) >= CLOSE_TO_THRESHOLD:
        return ()
    return (
        f"The probability of {model.classes[1]} ({probabilities[1]:.2f}) is close to the"
        f" threshold ({threshold:.2f}): it could be either.",
    )


def _heat_map(
    prepared: PreparedInput, maps: Array | None, heat_class: str
) -> tuple[Volume | None, tuple[str, ...]]:
    """(the maps on the image's grid with a maximum of 1, notes); None where there is no map."""
    if maps is None:
        return None, ()
    if not len(maps):
        return None, ("There is no heat map, as the first of the model's channels is missing.",)
    array = prepared.to_volume(maps).astype(np.float32)
    highest = float(array.max())
    notes: tuple[str, ...] = ()
    if highest > 0:
        array = array / highest
    else:
        notes = (f"Nothing in the image speaks for {heat_class}, so the heat map is empty.",)
    return prepared.volume.with_array(array, f"{prepared.volume.name} heat map"), notes
