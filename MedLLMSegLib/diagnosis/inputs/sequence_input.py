"""Volumes for a classifier: one as a sequence of its slices, or several as a sequence of frames."""

from __future__ import annotations

import numpy as np
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import percentile_window
from MedLLMSegLib.diagnosis.input_checks import check_modality
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel
from MedLLMSegLib.diagnosis.slice_sequences import (
    ImageSequence,
    check_sequence_volume,
    sequence_from_frames,
    sequence_from_slices,
)
from MedLLMSegLib.io.dicom.single_image import dicom_modality
from MedLLMSegLib.io.volume_files import load_volume

from .prepared_input import ImageSources, PreparedInput, as_list


def prepare_sequence(image: ImageSources, model: ClassifierModel) -> PreparedInput:
    """A volume, or several in order (or one of four axes [t, k, j, i]) for a model of frames."""
    volumes = [_read_volume(each, model) for each in as_list(image)]
    if model.input.kind == "frames":
        volumes = _frames(volumes)
        _check_frames(volumes, model)
        sequence = sequence_from_frames(
            volumes, model.preparation, model.input.slices, model.input.longest
        )
    else:
        _check_one_volume(volumes, model)
        sequence = sequence_from_slices(volumes[0], model.preparation, model.input.longest)
    steps, channels = sequence.slices.shape
    middle = int(sequence.slices[steps // 2, channels // 2])
    first = volumes[0]

    def to_volume(maps: Array) -> Array:
        return maps_onto_slices(maps, sequence, first.array.shape[0])

    return PreparedInput(
        batch={
            "image": torch.from_numpy(sequence.images)[None],
            "lengths": torch.tensor([len(sequence.images)]),
        },
        volume=first,
        shown=percentile_window(first.array)(first.array[middle]),
        to_volume=to_volume,
        shown_slice=middle,
    )


def _read_volume(image, model: ClassifierModel) -> Volume:
    if isinstance(image, Volume):
        return image
    check_modality(dicom_modality(image), model.input, str(image), model.entry.id)
    return load_volume(image)


def _frames(volumes: list[Volume]) -> list[Volume]:
    """The frames of a single volume of four axes; other volumes are the frames themselves."""
    if len(volumes) > 1 or volumes[0].array.ndim != 4:
        return volumes
    cine = volumes[0]
    return [
        cine.with_array(frame, f"{cine.name} frame {number}")
        for number, frame in enumerate(cine.array, 1)
    ]


def _check_frames(volumes: list[Volume], model: ClassifierModel) -> None:
    for volume in volumes:
        check_sequence_volume(volume)
    if len(volumes) < 2:
        raise UserError(
            f'"{volumes[0].name}" is one volume, and the model "{model.entry.id}" looks at'
            " several in order; give them together, or a file that holds them all."
        )


def _check_one_volume(volumes: list[Volume], model: ClassifierModel) -> None:
    if len(volumes) > 1:
        raise UserError(
            f'{len(volumes)} volumes were given, and the model "{model.entry.id}" takes one at'
            " a time; diagnose them one by one."
        )
    check_sequence_volume(volumes[0])


def maps_onto_slices(maps: Array, sequence: ImageSequence, slice_count: int) -> Array:
    """Maps (steps, h, w) -> [k, j, i], for each slice the map of its step.

    A slice that was not looked at gets the map of the nearest one that was. A slice of several
    steps gets the largest value of their maps.
    """
    map_of_slice: dict[int, Array] = {}
    for step, slices in enumerate(sequence.slices):
        step_map = sequence.to_slice(maps[step])
        for k in set(slices.tolist()):
            earlier = map_of_slice.get(k)
            map_of_slice[k] = step_map if earlier is None else np.maximum(earlier, step_map)
    known = np.array(sorted(map_of_slice))
    nearest = [int(known[np.abs(known - k).argmin()]) for k in range(slice_count)]
    return np.stack([map_of_slice[k] for k in nearest])
