"""Labelled cases to `Examples`: each image as the network sees it, and the fields of its record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.data.image_table import ImageCase
from MedLLMSegLib.diagnosis.input_checks import UNSPECIFIC_MODALITIES
from MedLLMSegLib.diagnosis.input_description import RADIOGRAPHY, InputConfig
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.diagnosis.slice_sequences import ImageSequence
from MedLLMSegLib.io.coregistered_channels import coregistered_channel
from MedLLMSegLib.io.dicom.single_image import dicom_modality
from MedLLMSegLib.io.lung_masks import load_lung_mask
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.registry.classifier_config import PreparationConfig, RecordConfig

from .examples import Examples

DEFAULT_INPUT = InputConfig()
MASK_COLUMN = "lung_mask"  # of the table: a file with the lungs above 0


def image_examples(
    cases: Sequence[ImageCase],
    preparation: PreparationConfig,
    progress: Report | None = None,
    shown: InputConfig = DEFAULT_INPUT,
) -> Examples:
    """Read and prepare the images: "image" (N, channels, size, size) float16, NaN for a channel
    that is missing.

    shown: what the network is shown. Raises `UserError` that names the image which cannot be read.
    """
    images = np.zeros(
        (len(cases), 1 + len(shown.channels), preparation.size, preparation.size), np.float16
    )
    report = Progress.of(progress)
    for n, case in enumerate(cases):
        report(f"reading images: {case.id}", n / len(cases))
        images[n] = prepared_image(case, preparation, shown)
    return Examples(
        {"image": torch.from_numpy(images)},
        torch.tensor([c.target for c in cases], dtype=torch.int64),
        tuple(c.id for c in cases),
        tuple(c.group for c in cases),
    )


def prepared_image(
    case: ImageCase, preparation: PreparationConfig, shown: InputConfig = DEFAULT_INPUT
) -> np.ndarray:
    """One case's channels (C, size, size) float32, NaN for a missing one, on the pixels of the
    first that is there; cropped to the lungs where the table names a mask of them.
    """
    files, first = (case.image, *case.channels), None
    found = np.full((len(files), preparation.size, preparation.size), np.nan, np.float32)
    mask = case.columns.get(MASK_COLUMN)
    for n, path in enumerate(files):
        if path is not None:
            radiograph = load_radiograph(path, ct=shown.of_channel(n).ct)
            radiograph = (
                radiograph
                if first is None
                else coregistered_channel(first, radiograph, shown.names[n])
            )
            first = first or radiograph
            lungs = load_lung_mask(_mask_path(case, mask), radiograph) if mask else None
            found[n] = prepare_radiograph(radiograph, preparation, lungs)[0][0]
    return found


def channels_input(cases: Sequence[ImageCase], names: Sequence[str], lungs: bool) -> InputConfig:
    """What a model of several channels is shown: of each, the modalities that its (training) images
    state in DICOM's tags; any where none does. lungs: as in `InputConfig`.
    """
    files = [
        [case.image for case in cases],
        *([case.channels[n] for case in cases] for n in range(len(names))),
    ]
    stated = [
        {dicom_modality(path) for path in each if path is not None} - set(UNSPECIFIC_MODALITIES)
        for each in files
    ]
    modalities = [
        RADIOGRAPHY if codes and codes <= set(RADIOGRAPHY) else tuple(sorted(codes))
        for codes in stated
    ]
    return InputConfig(
        modalities=modalities[0],
        body_part="",
        views=(),
        lungs=lungs,
        channels=dict(zip(names, modalities[1:], strict=True)),
    )


def _mask_path(case: ImageCase, name: str) -> Path:
    image = next(path for path in (case.image, *case.channels) if path is not None)
    for path in (image.parent / name, image.parent.parent / name):
        if path.is_file():
            return path
    raise UserError(
        f'The table names the lung mask "{name}" of "{case.id}", and there is no such file beside'
        " the image; correct the path, or remove the column."
    )


def step_examples(
    steps: Sequence[ImageSequence], target: Sequence[int], ids: Sequence[str], groups: Sequence[str]
) -> Examples:
    """Sequences of images: "image" (N, T, C, size, size) float16, zeros behind each of "lengths"
    (N,). T: the longest's.
    """
    lengths = [len(each.images) for each in steps]
    images = torch.zeros(len(steps), max(lengths), *steps[0].images.shape[1:], dtype=torch.float16)
    for n, each in enumerate(steps):
        images[n, : lengths[n]] = torch.from_numpy(each.images)
    return Examples(
        {"image": images, "lengths": torch.tensor(lengths)},
        torch.as_tensor(np.asarray(target), dtype=torch.int64),
        tuple(ids),
        tuple(groups),
    )


def plan_record(cases: Sequence[ImageCase], columns: Sequence[str]) -> RecordConfig:
    """Which of a table's columns are numbers and which categories, with mean, spread and values
    over these (training) cases.

    A column is a number where all that is stated in it is one. Raises `UserError` for a column that
    the table lacks, and for one that says nothing.
    """
    numbers, means, stds, categories = [], [], [], {}
    for column in columns:
        if column not in cases[0].columns:
            raise UserError(
                f'The table has no column "{column}" for the record; it has'
                f" {', '.join(cases[0].columns)}."
            )
        stated = [c.columns[column] for c in cases if c.columns[column]]
        values = [number_of(text) for text in stated]
        if len(set(stated)) < 2:
            raise UserError(
                f'The column "{column}" says the same of every training case; leave it out of the'
                " record."
            )
        if all(math.isfinite(v) for v in values):
            numbers.append(column)
            means.append(float(np.mean(values)))
            stds.append(float(np.std(values)))
        else:
            categories[column] = tuple(sorted(set(stated)))
    return RecordConfig(tuple(numbers), categories, tuple(means), tuple(stds))


def record_fields(cases: Sequence[ImageCase], record: RecordConfig) -> dict[str, torch.Tensor]:
    """ "numbers" (N, n) float32 with NaN where missing, "categories" (N, m) int64 with -1 where
    missing or unknown.
    """
    numbers = [[number_of(case.columns.get(name, "")) for name in record.numbers] for case in cases]
    categories = [
        [
            values.index(case.columns.get(name, "")) if case.columns.get(name, "") in values else -1
            for name, values in record.categories.items()
        ]
        for case in cases
    ]
    return {
        "numbers": (
            torch.tensor(numbers, dtype=torch.float32).reshape(len(cases), len(record.numbers))
        ),
        "categories": (
            torch.tensor(categories, dtype=torch.int64).reshape(len(cases), len(record.categories))
        ),
    }


def number_of(text: str) -> float:
    """NaN for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
