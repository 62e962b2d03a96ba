"""What a user gives (a file, a volume, several, a record) as a batch of one for a classifier,
and a map's way back to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import percentile_window
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.diagnosis.slice_sequences import (
    ImageSequence,
    check_steps,
    sequence_from_frames,
    sequence_from_slices,
)
from MedLLMSegLib.io.coregistered_channels import coregistered_channel
from MedLLMSegLib.io.dicom.single_image import dicom_modality
from MedLLMSegLib.io.lung_masks import load_lung_mask, lung_mask_of
from MedLLMSegLib.io.radiograph import Radiograph, load_radiograph, radiograph_of
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.registry.classifier_config import RecordConfig

from .input_checks import atypical_image_notes, check_modality, radiograph_notes
from .loaded_classifier import ClassifierModel

Image = "str | Path | Volume | Radiograph"


@dataclass(frozen=True, eq=False)
class PreparedInput:
    """batch: of one, on the CPU. volume: the image's grid. shown: (rows, columns) from 0 to 1, what
    a picture shows.

    to_volume: maps (N, h, w) of the images that went through the encoder -> an array on the grid.
    shown_slice: of it. orientation: from its stored rows and columns to those shown.
    """

    batch: dict[str, Tensor]
    volume: Volume
    shown: np.ndarray
    to_volume: Callable[[np.ndarray], np.ndarray]
    notes: tuple[str, ...] = ()
    shown_slice: int = 0
    orientation: DisplayOrientation = AS_STORED


def prepare_input(
    image,
    model: ClassifierModel,
    lungs=None,
    window: int | None = None,
    record: Mapping[str, object] | None = None,
    view: str = "",
) -> PreparedInput:
    """Read, check and prepare. image, view: as for `diagnose`. Raises `UserError`."""
    if model.input.kind == "radiograph":
        found = _radiographs(image, model, lungs, window, view)
    elif lungs is not None or window is not None:
        raise UserError(
            f'The model "{model.entry.id}" looks at volumes, for which there is no lung mask and no'
            " choice of a window; leave these out."
        )
    else:
        found = _sequence(image, model)
    fields, notes = record_fields(record, model.config.record, model.entry.id)
    return replace(found, batch={**found.batch, **fields}, notes=(*found.notes, *notes))


def as_list(image) -> list:
    """One image, or several in order, as a list."""
    return (
        list(image)
        if isinstance(image, Sequence) and not isinstance(image, (str, Path))
        else [image]
    )


def _radiographs(
    image, model: ClassifierModel, lungs, window: int | None, view: str
) -> PreparedInput:
    """One flat image; a model of several channels takes several, in order, where None is a
    missing one.
    """
    images, names, size = _of_each_channel(image, model), model.input.names, model.preparation.size
    arrays, first, notes = np.full((len(images), size, size), np.nan, np.float32), None, ()
    for n, each in enumerate(images):
        if each is None:
            continue
        radiograph = _radiograph(each, None if first else window, model.input.of_channel(n).ct)
        radiograph = replace(radiograph, view=radiograph.view or view)
        asked, channel = model.input.of_channel(n), names[n] if n and names else ""
        check_modality(radiograph.modality, asked, radiograph.volume.name, model.entry.id, channel)
        notes += tuple(
            f"{channel}: {note}" if channel else note
            for note in radiograph_notes(radiograph, asked)
        )
        if first:
            radiograph = coregistered_channel(first[0], radiograph, channel or str(n + 1))
        mask = _mask(lungs, radiograph)
        arrays[n], box = prepare_radiograph(radiograph, model.preparation, mask)
        notes += atypical_image_notes(arrays[n : n + 1], model.typical) if n == 0 else ()
        if first is None:
            first, notes = (radiograph, box), notes + _mask_notes(mask, model)
    notes += _missing_notes([each is None for each in images], names)
    radiograph, box = first
    shape = radiograph.volume.array.shape
    return PreparedInput(
        {"image": torch.from_numpy(arrays)[None]},
        radiograph.volume,
        radiograph.array,
        lambda maps: radiograph.orientation.to_stored(box.to_image(maps[0])).reshape(shape),
        notes,
        orientation=radiograph.orientation,
    )


def _of_each_channel(image, model: ClassifierModel) -> list:
    """An image, or None, for each of the model's channels. Raises `UserError` for too many, or
    none.
    """
    images, channels = as_list(image), model.config.encoder.channels
    if len(images) > channels or all(each is None for each in images):
        raise UserError(
            f'{len(images)} images were given, and the model "{model.entry.id}" takes {channels} at'
            " a time; diagnose them one by one."
        )
    return images + [None] * (channels - len(images))


def _mask_notes(mask: np.ndarray | None, model: ClassifierModel) -> tuple[str, ...]:
    if mask is None or (model.input.lungs and model.preparation.crop != "none"):
        return ()
    if model.preparation.crop == "none":
        return ("The model looks at whole images, so the lung mask was not used.",)
    return (
        (
            "The model was trained on whole images; how it does on one that is cropped to the lungs"
            " was not measured."
        ),
    )


def _missing_notes(missing: list[bool], names: tuple[str, ...]) -> tuple[str, ...]:
    which = ", ".join(name for name, lacks in zip(names, missing) if lacks)
    text = (
        f"{sum(missing)} of the model's {len(missing)} channels are"
        f" missing{f' ({which})' if which else ''}."
    )
    return (text,) if any(missing) else ()


def _radiograph(image, window: int | None, ct: bool) -> Radiograph:
    """ct: whether values as a CT's are welcome."""
    if isinstance(image, (str, Path)):
        return load_radiograph(image, window, ct)
    if window is not None:
        raise UserError(
            "A window can be chosen for a DICOM file only; give the file, or leave the window out."
        )
    return image if isinstance(image, Radiograph) else radiograph_of(image, ct=ct)


def _mask(lungs, radiograph: Radiograph) -> np.ndarray | None:
    if lungs is None or isinstance(lungs, (str, Path)):
        return None if lungs is None else load_lung_mask(lungs, radiograph)
    array = lungs.array if isinstance(lungs, Volume) else np.asarray(lungs)
    return lung_mask_of(array, radiograph, lungs.name if isinstance(lungs, Volume) else "lung mask")


def _sequence(image, model: ClassifierModel) -> PreparedInput:
    """A volume as a sequence of its slices, or several volumes (or one of four axes) as a
    sequence of frames.
    """
    volumes = [_volume(each, model) for each in as_list(image)]
    asked, config = model.input, model.preparation
    if asked.kind == "frames":
        if len(volumes) == 1 and volumes[0].array.ndim == 4:
            cine = volumes[0]
            volumes = [
                cine.with_array(frame, f"{cine.name} frame {n}")
                for n, frame in enumerate(cine.array, 1)
            ]
        for each in volumes:
            check_steps(each)
        if len(volumes) < 2:
            raise UserError(
                f'"{volumes[0].name}" is one volume, and the model "{model.entry.id}" looks at'
                " several in order; give them together, or a file that holds them all."
            )
        steps = sequence_from_frames(volumes, config, asked.slices, asked.longest)
    else:
        if len(volumes) > 1:
            raise UserError(
                f'{len(volumes)} volumes were given, and the model "{model.entry.id}" takes one at'
                " a time; diagnose them one by one."
            )
        check_steps(volumes[0])
        steps = sequence_from_slices(volumes[0], config, asked.longest)
    middle = int(steps.slices[len(steps.slices) // 2, steps.slices.shape[1] // 2])
    shown = percentile_window(volumes[0].array)(volumes[0].array[middle])
    batch = {
        "image": torch.from_numpy(steps.images)[None],
        "lengths": torch.tensor([len(steps.images)]),
    }
    return PreparedInput(
        batch,
        volumes[0],
        shown,
        lambda maps: _onto_slices(maps, steps, volumes[0].array.shape),
        (),
        middle,
    )


def _volume(image, model: ClassifierModel) -> Volume:
    if isinstance(image, Volume):
        return image
    check_modality(dicom_modality(image), model.input, str(image), model.entry.id)
    return load_volume(image)


def _onto_slices(maps: np.ndarray, steps: ImageSequence, shape: tuple[int, int, int]) -> np.ndarray:
    """Each slice gets the map of its step, or of the nearest slice that was looked at; of
    several steps the largest.
    """
    best: dict[int, np.ndarray] = {}
    for step, row in enumerate(steps.slices):
        flat = steps.to_slice(maps[step])
        for k in set(row.tolist()):
            best[k] = np.maximum(best[k], flat) if k in best else flat
    seen = np.array(sorted(best))
    return np.stack([best[int(seen[np.abs(seen - k).argmin()])] for k in range(shape[0])])


def record_fields(
    record: Mapping[str, object] | None, config: RecordConfig | None, model: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A record as the batch's "numbers" (1, N) and "categories" (1, M), and notes on fields that
    are not stated.
    """
    record = {key: str(value).strip() for key, value in (record or {}).items()}
    if config is None:
        if record:
            raise UserError(
                f'The model "{model}" reads images alone, and a record was given'
                f" ({', '.join(record)}); leave it out."
            )
        return {}, ()
    known = [*config.numbers, *config.categories]
    if unknown := sorted(set(record) - set(known)):
        raise UserError(
            f'The record has the field "{unknown[0]}", and the model "{model}" knows'
            f" {', '.join(known)}; correct its name."
        )
    numbers = [_number(name, record.get(name, "")) for name in config.numbers]
    categories = [
        _category(name, record.get(name, ""), values) for name, values in config.categories.items()
    ]
    missing = [name for name in known if not record.get(name)]
    notes = (
        (f"The record does not state {', '.join(missing)}, so the answer is less sure.",)
        if missing
        else ()
    )
    return {
        "numbers": torch.tensor([numbers], dtype=torch.float32).reshape(1, -1),
        "categories": torch.tensor([categories], dtype=torch.int64).reshape(1, -1),
    }, notes


def _number(name: str, text: str) -> float:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise UserError(
            f'The record\'s {name} is "{text}", and a number is needed; correct it, or leave it out'
            " if it is not known."
        )
    return value


def _category(name: str, text: str, values: Sequence[str]) -> int:
    if text and text not in values:
        raise UserError(
            f'The record\'s {name} is "{text}", and one of {", ".join(values)} is needed; correct'
            " it, or leave it out if it is not known."
        )
    return values.index(text) if text else -1
