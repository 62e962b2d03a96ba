"""What LIDC's readers drew: the XML files beside the scans of LIDC-IDRI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy import ndimage

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

LARGEST = 64 * 2**20  # bytes; LIDC's own have less than 5 MB
ROOT = "LidcReadMessage"
FEWEST = 3  # points of a contour; a nodule below 3 mm has one


@dataclass(frozen=True, eq=False)
class Contour:
    """Around a nodule in one slice.

    sop_uid: of the slice's DICOM file. points: (n, 2) of its pixels (column, row); they lie just
    outside the nodule, as LIDC defines them (Armato et al. 2011). hole: what is inside is left out.
    """

    sop_uid: str
    points: Array
    hole: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """What the readers outlined in one series: for each reader the nodules' contours."""

    series_uid: str
    readers: list[list[Contour]]


def same_outlines(one: Reading, other: Reading) -> bool:
    """Whether the readers drew the same in both, in the same order."""
    return _drawn(one) == _drawn(other)


def _drawn(reading: Reading) -> list[list[tuple[str, bool, list[list[int]]]]]:
    return [[(c.sop_uid, c.hole, c.points.tolist()) for c in reader] for reader in reading.readers]


class _Safe(ElementTree.TreeBuilder):
    """Refuses a document type before any entity is read: LIDC's files have none, and entities of
    entities fill the memory.
    """

    def doctype(self, name, pubid, system):
        raise UserError("it has a document type, which LIDC's files have not")


def read_xml(path: Path) -> Reading | None:
    """The readers' contours; None for another kind of XML, such as that of LIDC's X-rays.

    Raises `UserError` for a file that is damaged, unsafe, or far too large.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"it has more than {LARGEST // 2**20} MB")
        parser = ElementTree.XMLParser(target=_Safe())
        parser.feed(path.read_bytes())
        root = parser.close()
        if _name(root) != ROOT:
            return None
        series = _text(root, "SeriesInstanceUid")
        sessions = [part for part in root if _name(part) == "readingSession"]
        return Reading(series, [list(_contours(session)) for session in sessions])
    except (ElementTree.ParseError, OSError, ValueError, UserError) as error:
        raise UserError(
            f'"{path}" could not be read as one of LIDC\'s XML files ({error}); copy it again, or'
            " remove it."
        ) from error


def _contours(session: ElementTree.Element) -> Iterator[Contour]:
    for nodule in session:
        if _name(nodule) != "unblindedReadNodule":
            continue  # nonNodule: a place only
        for roi in (part for part in nodule if _name(part) == "roi"):
            points = [
                (int(_text(edge, "xCoord")), int(_text(edge, "yCoord")))
                for edge in roi
                if _name(edge) == "edgeMap"
            ]
            if len(points) < FEWEST:
                continue
            hole = _text(roi, "inclusion").upper() == "FALSE"
            yield Contour(_text(roi, "imageSOP_UID"), np.array(points), hole)


def _name(element: ElementTree.Element) -> str:
    """Without its namespace."""
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str:
    """The text of the first part of this name, at any depth. Raises `ValueError` without one."""
    for part in element.iter():
        if _name(part) == name and part.text:
            return part.text.strip()
    raise ValueError(f"{name} is missing")


def inner_pixels(points: Array) -> Array:
    """The pixels strictly inside a closed contour. (n, 2) of (column, row) -> (m, 2)."""
    low = points.min(axis=0) - 1
    line = np.zeros(np.ptp(points, axis=0) + 3, bool)
    near = points - low
    for begin, end in zip(near, np.roll(near, -1, axis=0), strict=True):
        steps = int(np.abs(end - begin).max()) + 1
        for share in np.linspace(0, 1, steps):
            line[tuple(np.round(begin + share * (end - begin)).astype(int))] = True
    inside = ndimage.binary_fill_holes(line) & ~line
    pixels: Array = np.argwhere(inside) + low
    return pixels
