"""A series of images, such as a cine of the heart: each is segmented by itself, and the volumes
over time are a table.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation, Structure
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.itk_images import FRAME_STEP
from MedLLMSegLib.io.volume_files import save_volume

from .pipeline import SegmenterModel, load_model, segment

SUFFIXES = (".nii.gz", ".nii")  # formats with a fourth axis
FIRST = "frame"  # column of the table


@dataclass(frozen=True, eq=False)
class SeriesSegmentation:
    """The segmentations of a series, in order of time. step: between two images, in the file's
    own unit.
    """

    each: tuple[Segmentation, ...]
    step: float = 1.0

    @cached_property
    def labels(self) -> Volume:
        """uint8 label maps [t, k, j, i] on the grid that all images share."""
        one = self.each[0].labels
        return Volume(
            np.stack([s.labels.array for s in self.each]),
            one.ijk_to_ras,
            one.name,
            {FRAME_STEP: self.step},
        )

    @property
    def structures(self) -> tuple[Structure, ...]:
        return self.each[0].structures

    @cached_property
    def volumes_ml(self) -> dict[str, list[float]]:
        """Key of each structure -> its volume in every image."""
        rows = [s.volumes_ml for s in self.each]
        return {key: [row.get(key, 0.0) for row in rows] for key in rows[0]}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was said of any image, once."""
        return tuple(dict.fromkeys(note for s in self.each for note in s.notes))

    @property
    def model(self) -> str:
        return self.each[0].model

    @property
    def seconds(self) -> float:
        return sum(s.seconds for s in self.each)


def segment_frames(
    volume: Volume,
    model: str | Path | SegmenterModel = "cardiac-cine-mr",
    *,
    device: str = "auto",
    progress: Report | None = None,
    **how,
) -> SeriesSegmentation:
    """Segment every image of a series; the model is loaded once.

    volume: [t, k, j, i], or one image [k, j, i]. how: `pipeline.segment`'s side and augment.
    progress: called with (stage, fraction done); may raise `Cancelled`. Raises `UserError`, which
    names the image.
    """
    model = model if isinstance(model, SegmenterModel) else load_model(model, device)
    images = volume.array if volume.array.ndim == 4 else volume.array[None]
    report, each = progress or (lambda stage, fraction: None), []
    for n, image in enumerate(images):
        tell = lambda stage, f, n=n: report(
            f"image {n + 1} of {len(images)}: {stage}", (n + f) / len(images)
        )
        try:
            each.append(segment(volume.with_array(image), model, progress=tell, **how))
        except UserError as error:
            raise UserError(f"Image {n + 1} of {len(images)}: {error}") from error
    return SeriesSegmentation(tuple(each), volume.tags.get(FRAME_STEP, 1.0))


def write_frames(frames: SeriesSegmentation, labels: Path, table: Path) -> None:
    """The label maps as one 4D NIfTI, and the volumes as a table with a row for each image (from
    0, as NIfTI counts).
    """
    save_volume(frames.labels, labels)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([FIRST, *(f"{key}_ml" for key in frames.volumes_ml)])
    writer.writerows(
        [n, *(round(ml, 4) for ml in row)] for n, row in enumerate(zip(*frames.volumes_ml.values()))
    )
    write_text(table, text.getvalue())
