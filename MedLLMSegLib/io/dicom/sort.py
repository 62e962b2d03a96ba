"""Which DICOM files of a folder are images, and what was passed over and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

from MedLLMSegLib.core.errors import UserError

from .header import DicomHeader, damaged, read_header, read_start

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_DIRECTORY = "1.2.840.10008.1.3.10"
# Storage classes without an image of the patient (DICOM PS3.4, B.5), by how their UIDs begin
_WITHOUT_IMAGE = {
    "9.": "a waveform",
    "11.": "a presentation state",
    "66.4": "a segmentation",
    "66.7": "a segmentation",
    "66.5": "a surface",
    "66": "raw data or a registration",
    "67": "a value mapping",
    "88.": "a report",
    "104.": "a document",
    "481.": "radiotherapy data",
    "77.1.1.1": "a video",
    "77.1.2.1": "a video",
    "77.1.4.1": "a video",
}
_SUFFIXES = (".dcm", ".ima")
_MOST_NAMED = 3  # files that a note names


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A file that holds one image or several, and its tags."""

    path: Path
    header: DicomHeader


@dataclass(frozen=True)
class PassedOver:
    """A file that was not used. reason: what it is, such as "a report"."""

    path: Path
    reason: str


@dataclass(frozen=True, eq=False)
class UnusableImage:
    """A file that is damaged, or an image that cannot be placed.

    series: the UID of its series where it can still be read, else "". error: what to say if it is
    needed.
    """

    path: Path
    series: str
    error: UserError


@dataclass(frozen=True, eq=False)
class SortedFiles:
    """images: in the order of the files. passed_over: files that are no images."""

    images: list[ImageFile]
    passed_over: list[PassedOver]
    unusable: list[UnusableImage]


def is_dicom(path: Path) -> bool:
    """Whether a file's first bytes are DICOM's. A DICOMDIR holds no image and does not count."""
    return _kind(path) == "dicom"


def _kind(path: Path) -> str:
    """ "dicom", "directory" (a DICOMDIR under any name), "broken" (named like DICOM) or ""."""
    if path.name.startswith(".") or not os.path.isfile(path):
        return ""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return ""
    has_suffix = path.suffix.lower() in _SUFFIXES
    if head[128:132] == b"DICM" or _is_data_set(head, has_suffix):
        is_directory = path.name.upper() == "DICOMDIR" or _DIRECTORY.encode() in head
        return "directory" if is_directory else "dicom"
    return "broken" if has_suffix else ""


def _is_data_set(head: bytes, has_suffix: bool) -> bool:
    """Whether a file without the preamble of part 10 begins with an element of group 2 or 8.

    Without a suffix that says so, only the kind or length of that element tells it from chance
    bytes.
    """
    if head[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08") or len(head) < 64:
        return False
    explicit = head[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH", b"DA")
    implicit = 0 < int.from_bytes(head[4:8], "little") <= 64
    return has_suffix or ((explicit or implicit) and head[3] == 0 and b"1.2." in head)


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files that lie directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_dicom(path))


def sort_folder(folder: Path) -> SortedFiles:
    """Read the tags of all DICOM files that lie directly in a folder."""
    kinds = {path: _kind(path) for path in sorted(folder.iterdir())}
    found = sort_files(path for path, kind in kinds.items() if kind == "dicom")
    others = {"directory": "a directory of DICOM files", "broken": "no DICOM data in it"}
    for path, kind in kinds.items():
        if kind in others:
            reason = others[kind] if path.stat().st_size else "empty"
            found.passed_over.append(PassedOver(path, reason))
    return found


def sort_files(paths: Iterable[Path]) -> SortedFiles:
    """Read the tags of DICOM files, and tell images from everything else."""
    found = SortedFiles([], [], [])
    first_with: dict[str, Path] = {}
    for path in paths:
        try:
            header = read_header(path)
        except UserError as error:
            found.unusable.append(UnusableImage(path, _series_of_damaged(path), error))
            continue
        instance = header.text("SOPInstanceUID")
        reason = what_it_is(header)
        if reason:
            found.passed_over.append(PassedOver(path, reason))
        elif min(header.size) < 1:
            series = header.text("SeriesInstanceUID")
            found.unusable.append(UnusableImage(path, series, damaged(path)))
        elif instance in first_with and cmp(path, first_with[instance], shallow=False):
            found.passed_over.append(PassedOver(path, "a copy"))
        else:
            first_with.setdefault(instance, path)
            found.images.append(ImageFile(path, header))
    return found


def _series_of_damaged(path: Path) -> str:
    header = read_start(path)
    return header.text("SeriesInstanceUID") if header is not None else ""


def what_it_is(header: DicomHeader) -> str:
    """What a file is that holds no image, such as "a report"; "" for an image."""
    sop_class = header.sop_class
    if sop_class == _DIRECTORY:
        return "a directory of DICOM files"
    if not sop_class.startswith(_STORAGE):
        return ""
    number = sop_class[len(_STORAGE) :]
    return next((name for start, name in _WITHOUT_IMAGE.items() if number.startswith(start)), "")


def slice_series(path: Path) -> str | None:
    """The series of a file that is one slice of a volume: one image with a position.

    None for an X-ray, a file of many frames, and a damaged file.
    """
    try:
        header = read_header(path)
    except UserError:
        return None
    if what_it_is(header) or header.frames > 1 or header.finite("ImagePositionPatient", 3) is None:
        return None
    return header.text("SeriesInstanceUID")


def passed_over_note(passed_over: list[PassedOver]) -> tuple[str, ...]:
    """One sentence on the files that were not used; none if there are none."""
    if not passed_over:
        return ()
    named = [f'"{item.path.name}" ({item.reason})' for item in passed_over[:_MOST_NAMED]]
    more = len(passed_over) - len(named)
    listed = ", ".join(named) + (f" and {more} more" if more else "")
    files = "1 file was" if len(passed_over) == 1 else f"{len(passed_over)} files were"
    return (f"{files} passed over: {listed}.",)
