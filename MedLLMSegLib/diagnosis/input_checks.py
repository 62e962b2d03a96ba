"""What may be given to a classifier: refused where the file says that it is something else, a
note where it looks like it.
"""

from __future__ import annotations

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.radiograph import Radiograph

from .classifier_description import TypicalImage
from .input_description import InputConfig

UNSPECIFIC_MODALITIES = (
    "",
    "OT",
    "SC",
)  # no modality, "other" and secondary capture: exports of any image
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

NEGATIVE = (
    -0.3
)  # correlation with the training images' mean below which an image is white for black
TURNED_BY = 0.2  # so much more alike after a turn, an image is taken for turned


def check_modality(
    modality: str, asked: InputConfig, image: str, model: str, channel: str = ""
) -> None:
    """Raise `UserError` where an image states a modality that the model (or a named channel of
    it) does not know.
    """
    if not asked.modalities or modality in (*UNSPECIFIC_MODALITIES, *asked.modalities):
        return
    wanted = " or ".join(dict.fromkeys(MODALITY_NAMES.get(m, m) for m in asked.modalities))
    place = f"{asked.body_part.lower()} " if asked.body_part else ""
    name, role = (
        MODALITY_NAMES.get(modality, modality),
        f" as its channel {channel}" if channel else "",
    )
    article = "an" if name[0] in "aeiouAMX" else "a"
    raise UserError(
        f'"{image}" is {article} {name} image by its DICOM tags ({modality}), and the model'
        f' "{model}" takes {place}{wanted} images{role}; choose such an image.'
    )


def radiograph_notes(radiograph: Radiograph, asked: InputConfig) -> tuple[str, ...]:
    """What is odd about a radiograph by its tags, or by the view that was told."""
    notes, part = list(radiograph.notes), radiograph.body_part
    if radiograph.view and asked.views and radiograph.view not in asked.views:
        notes.append(
            f"This is a {radiograph.view} view, and the model was trained on"
            f" {' and '.join(asked.views)} views: its answer means nothing here."
        )
    if (
        part
        and asked.body_part
        and asked.body_part not in part
        and part not in asked.body_part
        and part != "THORAX"
    ):
        notes.append(
            f"The file says that this shows the {part.lower()}, and the model was trained on the "
            f"{asked.body_part.lower()}: its answer means nothing here."
        )
    return tuple(notes)


def atypical_image_notes(array: np.ndarray, typical: TypicalImage | None) -> tuple[str, ...]:
    """A note where a prepared image (1, size, size) is unlike the training images, or more like
    them once it is turned.
    """
    if typical is None:
        return ()
    mean = np.array(typical.mean).reshape(typical.side, typical.side)
    small = _small(array, typical.side)
    alike, *turned = (_correlation(np.rot90(small, quarters), mean) for quarters in range(4))
    if alike >= typical.limit and max(turned) < alike + TURNED_BY:
        return ()
    guess = (
        "may be a negative (white for black)"
        if -alike > max(-NEGATIVE, *turned)
        else (
            "seems to be turned (on its side or upside down)"
            if max(turned) >= alike + TURNED_BY
            else "may be cropped, or of something else"
        )
    )
    return (
        (
            "The image looks unlike those the model was trained on (correlation with their mean"
            f" {alike:.2f}; 99 of 100 of them reach {typical.limit:.2f}); it {guess}, and the"
            " answer may mean nothing."
        ),
    )


def typical_image(images, side: int = 16) -> TypicalImage:
    """What prepared training images, each (1, size, size), look like on the average; for
    `ClassifierDescription.typical`.
    """
    small = np.stack([_small(np.asarray(each, np.float32), side) for each in images])
    mean = small.mean(0)
    alike = [_correlation(each, mean) for each in small]
    limit = min(
        float(np.quantile(alike, 0.01)), 0.9
    )  # training images that are all alike must not make every other one odd
    return TypicalImage(tuple(round(float(v), 4) for v in mean.ravel()), side, round(limit, 4))


def _small(array: np.ndarray, side: int) -> np.ndarray:
    """(..., size, size) -> (side, side): means of blocks."""
    edges = np.linspace(0, array.shape[-1], side + 1).astype(int)[:-1]
    flat = array.reshape(-1, *array.shape[-2:]).mean(0, dtype=np.float64)
    sums = np.add.reduceat(np.add.reduceat(flat, edges, 0), edges, 1)
    counts = np.diff([*edges, array.shape[-1]])
    return sums / np.outer(counts, counts)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))
