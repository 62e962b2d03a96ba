"""A series of images, such as a cine of the heart: each is segmented by itself, and the volumes
over time are a table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.quality import Quality
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.itk_images import FRAME_STEP
from MedLLMSegLib.io.volume_files import save_volume

from .pipeline import SegmenterModel, load_model, segment
from .quality.light import judge_series

SERIES_SUFFIXES = (".nii.gz", ".nii")  # formats with a fourth axis
FRAME_COLUMN = "frame"  # the first column of the table


@dataclass(frozen=True, eq=False)
class SeriesSegmentation:
    """The segmentations of a series.

    segmentations: one an image, in order of time. step: between two images, in the file's own unit.
    """

    segmentations: tuple[Segmentation, ...]
    step: float = 1.0

    @property
    def each(self) -> tuple[Segmentation, ...]:
        """`segmentations`, by its name in version 0.3."""
        return self.segmentations

    @cached_property
    def labels(self) -> Volume:
        """uint8 label maps [t, k, j, i] on the grid that all images share."""
        first = self.segmentations[0].labels
        arrays = np.stack([segmentation.labels.array for segmentation in self.segmentations])
        return replace(first, array=arrays, tags={FRAME_STEP: self.step})

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The structures that were looked for."""
        return self.segmentations[0].structures

    @cached_property
    def volumes_ml(self) -> dict[str, list[float]]:
        """Key of each structure -> its volume in every image."""
        rows = [segmentation.volumes_ml for segmentation in self.segmentations]
        return {key: [row.get(key, 0.0) for row in rows] for key in rows[0]}

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes on all images, each once."""
        return tuple(dict.fromkeys(note for result in self.segmentations for note in result.notes))

    @property
    def light(self) -> Quality | None:
        """That of the worst image, with its reasons; None where nothing is known of any."""
        lights = [own.quality.scan if own.quality else None for own in self.segmentations]
        return judge_series(lights)

    @property
    def model(self) -> str:
        """The model's id."""
        return self.segmentations[0].model

    @property
    def precision(self) -> str:
        """In which the model's network ran, as of one `Segmentation`."""
        return self.segmentations[-1].precision

    @property
    def seconds(self) -> float:
        """Wall time of all images together."""
        return sum(segmentation.seconds for segmentation in self.segmentations)


def segment_frames(
    volume: Volume,
    model: str | Path | SegmenterModel = "cardiac-cine-mr",
    *,
    device: str = "auto",
    progress: Report | None = None,
    **options: Any,
) -> SeriesSegmentation:
    """Segment every image of a series; the model is loaded once.

    volume: [t, k, j, i], or one image [k, j, i]. model, device: as for `segment`. options: the
    arguments side, augment, precision, resolution_mm, structures, region and with_model of
    `segment`. progress: called with (stage, fraction done); may raise `Cancelled`. Raises
    `UserError`, which names the image.
    """
    if not isinstance(model, SegmenterModel):
        model = load_model(model, device)
    images = volume.array if volume.array.ndim == 4 else volume.array[None]
    segmentations = []
    for number, (image, part) in enumerate(
        zip(images, Progress.of(progress).parts(len(images)), strict=True), 1
    ):
        name = f"image {number} of {len(images)}"
        image_progress = part.part(0.0, 1.0, f"{name}: {{}}")
        try:
            segmentation = segment(
                replace(volume, array=image), model, progress=image_progress, **options
            )
        except UserError as error:
            raise UserError(f"{name.capitalize()}: {error}") from error
        segmentations.append(segmentation)
    return SeriesSegmentation(tuple(segmentations), volume.tags.get(FRAME_STEP, 1.0))


def write_series(series: SeriesSegmentation, labels: Path, table: Path) -> None:
    """Write the label maps as one 4D NIfTI, and the volumes as a table (`write_volumes`)."""
    save_volume(series.labels, labels)
    write_volumes(series.volumes_ml, table)


def write_volumes(volumes_ml: Mapping[str, Sequence[float]], table: Path) -> None:
    """Write a series' volumes in mL, by structure: a row an image, from 0 as NIfTI counts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([FRAME_COLUMN, *(f"{key}_ml" for key in volumes_ml)])
    for number, row_ml in enumerate(zip(*volumes_ml.values(), strict=True)):
        writer.writerow([number, *(round(ml, 4) for ml in row_ml)])
    write_text(table, text.getvalue())
