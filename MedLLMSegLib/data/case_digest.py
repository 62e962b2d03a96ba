"""Short digests by which a case is recognised, whatever its files are called and however they are
stored.

Of a volume it is taken over the decoded values, as float32 and with the axes in the order of the
body, and over the size of a voxel. So a scan that was renamed, packed, turned into another format
or stored with other axes or another type of number has the same digest. Where its first voxel lies
and how far its axes are turned is left out, as programs round it differently. Of a picture it is
taken over the grey values as they are shown. A resampled, cropped or lossily compressed image is
another image.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np

from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.registry.seen_cases import Marks

from .case import Case
from .case_images import read_images
from .image_table import ImageCase

DIGITS = 16  # 64 bits: among a million cases, two share a digest once in 30 million times
# A voxel's size counts in steps of 5 %. With this offset multiples of 0.05 mm and of 1/16 mm lie
# well inside a step; a size beside a border, rounded another way, makes another digest.
STEP, OFFSET = 0.05, 0.1145


def scan_digest(volume: Volume) -> str:
    """16 hex digits of a volume's values and voxel size."""
    order = AxisOrder.of(volume.grid)
    array = order.ordered(volume.array)
    spacing = order.ordered_grid(volume.grid).spacing_mm
    steps = [math.floor(math.log(size) / STEP + OFFSET) for size in spacing]
    return _digest(f"volume {array.shape} {steps}", array)


def picture_digest(grey: Array) -> str:
    """16 hex digits of a flat image. grey: (rows, columns)."""
    return _digest(f"picture {grey.shape}", grey)


def person_digest(name: str) -> str:
    """16 hex digits of a person's name or number as the data give it."""
    return hashlib.sha256(f"person {name}".encode()).hexdigest()[:DIGITS]


def _digest(header: str, array: Array) -> str:
    values = np.ascontiguousarray(array, dtype="<f4") + np.float32(0)  # -0 becomes 0
    values[np.isnan(values)] = np.nan  # of all the bit patterns one
    digest = hashlib.sha256(header.encode())
    digest.update(values.data)
    return digest.hexdigest()[:DIGITS]


def case_marks(case: Case, image: Volume | None = None) -> Marks:
    """What a labelled scan is recognised by: each of its images.

    image: its volume, where it is one image and was read already. Raises `UserError` where one
    cannot be read.
    """
    known = [] if image is None or case.channels else [image]
    scans = known or read_images(case)
    return Marks(frozenset(map(scan_digest, scans)), _person(case.group, case.id))


def measured_marks(case: Case, image: Volume | None) -> Marks:
    """As `case_marks`, and also by the label map: a model may have learnt from images that were
    synthesised from it.
    """
    marks = case_marks(case, image)
    try:
        labels = scan_digest(load_volume(case.label))
    except UserError:  # segments in layers, which no label map of a training is
        return marks
    return Marks(marks.scans | {labels}, marks.persons)


def image_marks(case: ImageCase) -> Marks:
    """What a labelled image and its further channels are recognised by."""
    files = [path for path in (case.image, *case.channels) if path is not None]
    scans = {picture_digest(load_radiograph(path, ct=True).array) for path in files}
    return Marks(frozenset(scans), _person(case.group, case.id))


def marks_of_cases(cases: Iterable[Case]) -> Marks:
    """Of all labelled scans together."""
    return Marks.of_all(case_marks(case) for case in cases)


def marks_of_images(cases: Sequence[ImageCase]) -> Marks:
    """Of all labelled images together."""
    return Marks.of_all(image_marks(case) for case in cases)


def _person(group: str, case_id: str) -> frozenset[str]:
    """Nobody where the data name no person, and a case is a group of its own."""
    return frozenset() if group == case_id else frozenset({person_digest(group)})
