"""What a model finds in scans with known labels: Dice, shapes and certainty, kept in files, so that
a measurement goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.quality import Certainty
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.label_shape import Shape, label_shapes
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.pipeline import segment

from .corruptions import Corruption, corrupt


@dataclass(frozen=True)
class Subject:
    """A scan with labels. person: whose it is. read: () -> (scan, uint8 labels on its grid).
    digest: of the scan and its labels; another one is another subject, whatever its name.
    """

    name: str
    person: str
    read: Callable[[], tuple[Volume, Array]]
    digest: str = ""


@dataclass(frozen=True)
class Measured:
    """One structure of one scan, after one corruption.

    dice, true_ml: against its labels. shape, certainty: None where it was not found.
    """

    label: int
    dice: float
    true_ml: float
    shape: Shape | None
    certainty: Certainty | None


@dataclass(frozen=True)
class Row:
    """One scan after one corruption. refused: why the model gave no result; "" where it did."""

    subject: str
    person: str
    corruption: Corruption
    structures: tuple[Measured, ...] = ()
    refused: str = ""

    @property
    def shapes(self) -> dict[int, Shape]:
        """Label -> shape, of what was found."""
        return {m.label: m.shape for m in self.structures if m.shape is not None}

    @property
    def certainty(self) -> dict[int, Certainty]:
        """Label -> certainty, of what was found."""
        return {m.label: m.certainty for m in self.structures if m.certainty is not None}

    def to_dict(self) -> Json:
        """As in a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> Row:
        """The inverse."""
        return cls(
            data["subject"],
            data["person"],
            Corruption(**data["corruption"]),
            tuple(_measured(each) for each in data["structures"]),
            data["refused"],
        )


def _measured(data: Json) -> Measured:
    shape, certainty = data["shape"], data["certainty"]
    if shape is not None:
        touches = {int(label): share for label, share in shape["touches"].items()}
        shape = Shape(
            **{
                **shape,
                "lengths_mm": tuple(shape["lengths_mm"]),
                "centre_ras": tuple(shape["centre_ras"]),
                "touches": touches,
            }
        )
    return Measured(
        data["label"],
        data["dice"],
        data["true_ml"],
        shape,
        certainty and Certainty(**certainty),
    )


def measure(
    model: SegmenterModel,
    wanted: Sequence[tuple[Subject, Sequence[Corruption]]],
    folder: Path,
    progress: Report | None = None,
) -> list[Row]:
    """A row for each subject and corruption; what is in the folder already is not done again.

    folder: of rows. A row is of one model, one precision asked for, and one scan with its labels.
    progress: may raise `Cancelled`.
    """
    folder = folder / model.sha256[:16]
    rows = []
    for (subject, corruptions), part in zip(
        wanted, Progress.of(progress).parts(len(wanted)), strict=True
    ):
        part(subject.name, 0.0)
        scan: tuple[Volume, Array] | None = None
        for corruption in corruptions:
            path = folder / file_name(subject, corruption, model.precision)
            if path.exists():
                rows.append(Row.from_dict(json.loads(path.read_text(encoding="utf-8"))))
                continue
            scan = scan or subject.read()
            row = measured_row(model, subject, corruption, scan)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(row.to_dict()))
            rows.append(row)
            part(subject.name, 0.0)
    return rows


def file_name(subject: Subject, corruption: Corruption, precision: str) -> str:
    """Of a row: words to read, and a digest, as two names may have the same letters."""
    about = f"{subject.name} {corruption.kind} {corruption.level or ''}"
    of_data = json.dumps([subject.name, subject.digest, precision])
    digest = hashlib.sha256(of_data.encode()).hexdigest()[:16]
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{about} {digest}").strip("-") + ".json"


def measured_row(
    model: SegmenterModel, subject: Subject, corruption: Corruption, scan: tuple[Volume, Array]
) -> Row:
    """Corrupt, segment and compare."""
    image, truth = corrupt(*scan, corruption)
    side = "left" if model.anatomy else None  # crops that all look like left ones
    try:
        result = segment(image, model, side=side)
    except UserError as error:
        return Row(subject.name, subject.person, corruption, refused=str(error))
    found, voxel_ml = result.labels.array, float(result.labels.grid.voxel_ml)
    shapes = label_shapes(result.labels)
    measured = [
        Measured(
            s.label,
            float(dice(found, truth, s.label)),
            float(np.count_nonzero(truth == s.label)) * voxel_ml,
            shapes.get(s.label),
            result.certainty.get(s.label),
        )
        for s in result.structures
        if (truth == s.label).any() or s.label in shapes
    ]
    return Row(subject.name, subject.person, corruption, tuple(measured))


def without_refused(rows: Iterable[Row]) -> list[Row]:
    """Those that have a result."""
    return [row for row in rows if not row.refused]
