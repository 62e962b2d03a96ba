"""Flat images for a classifier: one radiograph, or one for each of the model's channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.diagnosis.input_checks import (
    atypical_image_notes,
    check_modality,
    radiograph_notes,
)
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel
from MedLLMSegLib.diagnosis.prepare_radiograph import SquareCrop, prepare_radiograph
from MedLLMSegLib.io.coregistered_channels import coregistered_channel
from MedLLMSegLib.io.lung_masks import load_lung_mask, lung_mask_of
from MedLLMSegLib.io.radiograph import Radiograph, load_radiograph, radiograph_of

from .prepared_input import ImageSource, ImageSources, MaskSource, PreparedInput, as_list


def prepare_radiographs(
    image: ImageSources,
    model: ClassifierModel,
    lungs: MaskSource | None,
    window: int | None,
    view: str,
) -> PreparedInput:
    """One flat image, or a list with one for each of the model's channels (None: missing).

    The first image that is not missing gives the grid; the others must lie on its pixels.
    """
    images, size = _image_of_each_channel(image, model), model.preparation.size
    arrays = np.full((len(images), size, size), np.nan, np.float32)
    (first_number, first_image), *others = [
        (number, each) for number, each in enumerate(images) if each is not None
    ]
    first = _read_channel(first_image, first_number, model, window, view)
    mask = _read_mask(lungs, first)
    arrays[first_number], crop = prepare_radiograph(first, model.preparation, mask)
    notes = _channel_notes(first, first_number, model)
    if first_number == 0:
        notes += atypical_image_notes(arrays[:1], model.typical)
    notes += _mask_notes(mask, model)
    for number, other_image in others:
        read = _read_channel(other_image, number, model, None, view)
        notes += _channel_notes(read, number, model)
        name = _channel_name(number, model) or str(number + 1)
        other = coregistered_channel(first, read, name)
        mask = _read_mask(lungs, other)
        arrays[number], _ = prepare_radiograph(other, model.preparation, mask)
    notes += _missing_notes([each is None for each in images], model.input.names)
    return _with_way_back(arrays, first, crop, notes)


def _with_way_back(
    arrays: NDArray[np.float32], radiograph: Radiograph, crop: SquareCrop, notes: Sequence[str]
) -> PreparedInput:
    """arrays: (channels, size, size). radiograph, crop: of the first image."""
    shape = radiograph.volume.array.shape

    def to_volume(maps: Array) -> Array:
        return radiograph.orientation.to_stored(crop.to_image(maps[0])).reshape(shape)

    return PreparedInput(
        batch={"image": torch.from_numpy(arrays)[None]},
        volume=radiograph.volume,
        shown=radiograph.array,
        to_volume=to_volume,
        notes=tuple(notes),
        orientation=radiograph.orientation,
    )


def _image_of_each_channel(image: ImageSources, model: ClassifierModel) -> list[ImageSource | None]:
    """An image, or None, for each of the model's channels.

    Raises `UserError` for too many images, or none.
    """
    images, channels = as_list(image), model.config.encoder.channels
    if len(images) > channels or all(each is None for each in images):
        raise UserError(
            f'{len(images)} images were given, and the model "{model.entry.id}" takes {channels} at'
            " a time; diagnose them one by one."
        )
    return images + [None] * (channels - len(images))


def _channel_name(number: int, model: ClassifierModel) -> str:
    """The name of a further channel; "" for the first one, and where channels have no names."""
    names = model.input.names
    return names[number] if number and names else ""


def _read_channel(
    image: ImageSource, number: int, model: ClassifierModel, window: int | None, view: str
) -> Radiograph:
    """Read the image of one channel. Raises `UserError` for another modality than the model's."""
    description = model.input.of_channel(number)
    radiograph = _read_radiograph(image, window, description.ct)
    check_modality(
        radiograph.modality,
        description,
        radiograph.volume.name,
        model.entry.id,
        _channel_name(number, model),
    )
    return replace(radiograph, view=radiograph.view or view)


def _channel_notes(radiograph: Radiograph, number: int, model: ClassifierModel) -> list[str]:
    """What is odd about the image of one channel."""
    channel = _channel_name(number, model)
    notes = radiograph_notes(radiograph, model.input.of_channel(number))
    return [f"{channel}: {note}" if channel else note for note in notes]


def _read_radiograph(image: ImageSource, window: int | None, ct: bool) -> Radiograph:
    """ct: whether the values of a CT are accepted."""
    if isinstance(image, (str, Path)):
        return load_radiograph(image, window, ct)
    if window is not None:
        raise UserError(
            "A window can be chosen for a DICOM file only; give the file, or leave the window out."
        )
    return image if isinstance(image, Radiograph) else radiograph_of(image, ct=ct)


def _read_mask(lungs: MaskSource | None, radiograph: Radiograph) -> NDArray[np.bool_] | None:
    if lungs is None:
        return None
    if isinstance(lungs, (str, Path)):
        return load_lung_mask(lungs, radiograph)
    if isinstance(lungs, Volume):
        return lung_mask_of(lungs.array, radiograph, lungs.name)
    return lung_mask_of(np.asarray(lungs), radiograph, "lung mask")


def _mask_notes(mask: Array | None, model: ClassifierModel) -> list[str]:
    crops = model.preparation.crop != "none"
    if mask is None or (model.input.lungs and crops):
        return []
    if not crops:
        return ["The model looks at whole images, so the lung mask was not used."]
    return [
        "The model was trained on whole images; how it does on one that is cropped to the lungs"
        " was not measured."
    ]


def _missing_notes(missing: list[bool], names: Sequence[str]) -> list[str]:
    """missing: for each channel, whether it has no image."""
    if not any(missing):
        return []
    which = ", ".join(name for name, lacks in zip(names, missing, strict=False) if lacks)
    listed = f" ({which})" if which else ""
    return [f"{sum(missing)} of the model's {len(missing)} channels are missing{listed}."]
