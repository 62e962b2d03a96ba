"""Checks of a classifier's input.

An image is refused where its file states that it is something else. A note is made where it only
looks like something else.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.io.radiograph import Radiograph

from .classifier_description import TypicalImage
from .input_description import InputConfig

# No modality, "other" and secondary capture: exports of any image.
UNSPECIFIC_MODALITIES = ("", "OT", "SC")
MODALITY_NAMES = {
    "CR": "X-ray",
    "DX": "X-ray",
    "RG": "X-ray",
    "CT": "CT",
    "MR": "MR",
    "PT": "PET",
    "NM": "nuclear medicine",
    "US": "ultrasound",
    "MG": "mammography",
    "XA": "angiography",
    "RF": "fluoroscopy",
    "ES": "endoscopy",
    "SM": "microscopy",
}

# Correlation with the training images' mean below which an image may be a negative.
NEGATIVE = -0.3
# An image whose correlation grows by this after a rotation is considered rotated.
ROTATION_GAIN = 0.2
# Training images that are all alike must not make every other image atypical.
HIGHEST_LIMIT = 0.9


def check_modality(
    modality: str, description: InputConfig, image: str, model: str, channel: str = ""
) -> None:
    """Raise `UserError` where an image states a modality that the model does not know.

    modality: DICOM's code. image, model: names for the message. channel: the name of a further
    channel, or "".
    """
    accepted = description.modalities
    if not accepted or modality in (*UNSPECIFIC_MODALITIES, *accepted):
        return
    accepted_names = dict.fromkeys(MODALITY_NAMES.get(code, code) for code in accepted)
    body_part = f"{description.body_part.lower()} " if description.body_part else ""
    role = f" as its channel {channel}" if channel else ""
    name = MODALITY_NAMES.get(modality, modality)
    article = "an" if name[0] in "aeiouAMX" else "a"
    raise UserError(
        f'"{image}" is {article} {name} image by its DICOM tags ({modality}), and the model'
        f' "{model}" takes {body_part}{" or ".join(accepted_names)} images{role}; choose such an'
        " image."
    )


def radiograph_notes(radiograph: Radiograph, description: InputConfig) -> tuple[str, ...]:
    """What is odd about a radiograph by its tags, or by the view that the user stated."""
    notes = list(radiograph.notes)
    if radiograph.view and description.views and radiograph.view not in description.views:
        notes.append(
            f"This is a {radiograph.view} view, and the model was trained on"
            f" {' and '.join(description.views)} views: its answer means nothing here."
        )
    if _is_other_body_part(radiograph.body_part, description.body_part):
        notes.append(
            f"The file says that this shows the {radiograph.body_part.lower()}, and the model was"
            f" trained on the {description.body_part.lower()}: its answer means nothing here."
        )
    return tuple(notes)


def _is_other_body_part(stated: str, expected: str) -> bool:
    """Both in capitals, "" if not known. Some devices write THORAX for a chest."""
    if not stated or not expected or stated == "THORAX":
        return False
    return expected not in stated and stated not in expected


def atypical_image_notes(array: Array, typical: TypicalImage | None) -> tuple[str, ...]:
    """A note on a prepared image (1, size, size) that is unlike the training images, or more like
    them after a rotation.
    """
    if typical is None:
        return ()
    mean = np.array(typical.mean).reshape(typical.side, typical.side)
    small = _block_means(array, typical.side)
    correlation, *rotated = (_correlation(np.rot90(small, quarters), mean) for quarters in range(4))
    is_rotated = max(rotated) >= correlation + ROTATION_GAIN
    if correlation >= typical.limit and not is_rotated:
        return ()
    if -correlation > max(-NEGATIVE, *rotated):
        guess = "may be a negative (white for black)"
    elif is_rotated:
        guess = "seems to be turned (on its side or upside down)"
    else:
        guess = "may be cropped, or of something else"
    return (
        "The image looks unlike those the model was trained on (correlation with their mean"
        f" {correlation:.2f}; 99 of 100 of them reach {typical.limit:.2f}); it {guess}, and the"
        " answer may mean nothing.",
    )


def typical_image(images: Iterable[Array], side: int = 16) -> TypicalImage:
    """The average of prepared training images, each (1, size, size).

    For `ClassifierDescription.typical`.
    """
    small = np.stack([_block_means(np.asarray(image, np.float32), side) for image in images])
    mean = small.mean(0)
    correlations = [_correlation(image, mean) for image in small]
    limit = min(float(np.quantile(correlations, 0.01)), HIGHEST_LIMIT)
    return TypicalImage(tuple(round(float(v), 4) for v in mean.ravel()), side, round(limit, 4))


def _block_means(array: Array, side: int) -> NDArray[np.float64]:
    """(..., size, size) -> (side, side): means over the first axes and over blocks of pixels."""
    size = array.shape[-1]
    edges = np.linspace(0, size, side + 1).astype(int)[:-1]
    flat = array.reshape(-1, *array.shape[-2:]).mean(0, dtype=np.float64)
    sums = np.add.reduceat(np.add.reduceat(flat, edges, 0), edges, 1)
    counts = np.diff([*edges, size])
    means: NDArray[np.float64] = sums / np.outer(counts, counts)
    return means


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))
