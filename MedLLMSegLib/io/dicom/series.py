"""One door for DICOM volumes: classic series, enhanced and multi-frame files.

Which files are images (`sort`), the frames in them (`frames`), the volumes that these form
(`split`), the one that is meant (`choose`), where it lies (`place`) and its values (`pixels`).
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume

from .choose import DicomVolume, choose_volume
from .frames import Frame, frames_of
from .header import DicomHeader
from .pixels import read_values
from .place import PlacedFrames, frame_number, place_frames, place_single
from .sort import (
    ImageFile,
    PassedOver,
    SortedFiles,
    UnusableImage,
    passed_over_note,
    sort_files,
    sort_folder,
)
from .split import depths_mm, split_volumes
from .suv import quantity_of

_RANGES = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*")
_MOST_FRAMES = 10**6
FROM_THE_PROBE = (
    "The file states places from the ultrasound probe, not in the patient: left and right, front"
    " and back are not known."
)


def load_dicom(path: Path, series: str | None = None, frames: str | None = None) -> Volume:
    """Read the DICOM series in a folder, or the series that one file belongs to.

    series: which volume to read where there are several: its series' UID, or its number in the
    list that the error gives. frames: which slices, such as "1-8,12": their numbers in a
    multi-frame file, and of a series of files their numbers along its normal. The array is
    [k, j, i]; notes say what was passed over. Raises `UserError`.
    """
    wanted = None if frames is None else wanted_frames(frames)
    found = _sorted_files(path)
    volumes = _volumes(found, wanted)
    if not volumes and found.unusable:
        raise found.unusable[0].error
    volume = choose_volume(volumes, path, series)
    _check_complete(volume, found.unusable)
    placed = _placed(volume, f'The DICOM series in "{path}"', wanted)
    values = read_values(placed.frames)
    notes = (*passed_over_note(_passed_over(volume, volumes, found)), *values.notes)
    if _counts_from_probe(volume.header):
        notes += (FROM_THE_PROBE,)
    name = path.name if path.is_dir() else path.stem
    times = [frame.keys.get("acquisition time", "") for frame in volume.frames]
    return Volume(
        values.array,
        placed.ijk_to_ras,
        name,
        _tags(volume.header),
        notes,
        quantity=quantity_of(volume.header, times),
    )


def wanted_frames(frames: str) -> set[int]:
    """The numbers in a text such as "1-8,12". Raises `UserError`."""
    if not _RANGES.fullmatch(frames):
        raise UserError(f'"{frames}" names no frames; write them like 1-8 or 1,3,5.')
    numbers: set[int] = set()
    for part in frames.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), min(int(last or first), _MOST_FRAMES) + 1))
    return numbers


def _sorted_files(path: Path) -> SortedFiles:
    """The files of a folder, or of the series of one file. Raises `UserError` if none is an image.

    A file of many frames, or an image without a position, stands for itself.
    """
    if path.is_dir():
        found = sort_folder(path)
    else:
        found = sort_files([path])
        if found.images and _is_slice(found.images[0].header):
            series = found.images[0].header.text("SeriesInstanceUID")
            found = _only(sort_folder(path.parent), series)
    if found.images or found.unusable:
        return found
    kinds = ", ".join(dict.fromkeys(item.reason for item in found.passed_over))
    about = f"only {kinds}" if kinds else "it may be damaged"
    raise UserError(
        f'"{path}" holds no readable DICOM image ({about}), and a scan is needed; choose the scan'
        " itself, or export the series again."
    )


def _is_slice(header: DicomHeader) -> bool:
    """Whether a file is one slice of a series."""
    if header.frames > 1:
        return False
    in_group = header.items("PerFrameFunctionalGroupsSequence")
    return bool(in_group) or header.finite("ImagePositionPatient", 3) is not None


def _only(found: SortedFiles, series: str) -> SortedFiles:
    """The files of one series, and the damaged ones that may belong to it.

    What else lies in the folder was not asked for, and needs no note.
    """
    images = [im for im in found.images if im.header.text("SeriesInstanceUID") == series]
    return SortedFiles(images, [], [im for im in found.unusable if im.series in (series, "")])


def _volumes(found: SortedFiles, wanted: set[int] | None) -> list[DicomVolume]:
    """All volumes in the files, series by series. Files that contradict themselves are moved to
    the unusable ones.
    """
    volumes: list[DicomVolume] = []
    for series, images in _by_series(found.images).items():
        frames: list[Frame] = []
        for image in images:
            try:
                frames += frames_of(image)
            except UserError as error:
                found.unusable.append(UnusableImage(image.path, series[0], error))
        frames = [f for f in frames if f.file_frames == 1 or not wanted or f.index + 1 in wanted]
        header = images[0].header
        about = header.text("SeriesDescription") or header.text("ProtocolName") or "unnamed series"
        for group in split_volumes(_without_thumbnails(frames)):
            volumes.append(DicomVolume(group.frames, series, about, group.label, header))
    return volumes


def _by_series(images: list[ImageFile]) -> dict[tuple[str, str], list[ImageFile]]:
    """The files that may form volumes together.

    Several 3D images may share one series: a file of many frames is an image of its own, unless it
    is a part of a concatenation.
    """
    groups: dict[tuple[str, str], list[ImageFile]] = {}
    for image in images:
        own = ""
        if image.header.frames > 1:
            own = image.header.text("ConcatenationUID") or str(image.path)
        groups.setdefault((image.header.text("SeriesInstanceUID"), own), []).append(image)
    return groups


def _without_thumbnails(frames: list[Frame]) -> list[Frame]:
    """The frames without pictures of another size that have no place among placed slices."""
    sizes = {frame.size for frame in frames if frame.position is not None}
    return [
        frame for frame in frames if frame.position is not None or frame.size in sizes
    ] or frames


def _check_complete(volume: DicomVolume, unusable: list[UnusableImage]) -> None:
    """Raise `UserError` where a file that cannot be used may be a slice of this volume."""
    numbers = sorted(frame.instance for frame in volume.frames if frame.file_frames == 1)
    has_gap = any(following - number > 1 for number, following in pairwise(numbers))
    for image in unusable:
        if image.series == volume.uid or (not image.series and has_gap):
            raise image.error


def _passed_over(
    volume: DicomVolume, volumes: list[DicomVolume], found: SortedFiles
) -> list[PassedOver]:
    """All files that were not read, with what they are."""
    used = {frame.path for frame in volume.frames}
    reason_of: dict[Path, str] = {}
    for other in volumes:
        for frame in other.frames:
            reason_of[frame.path] = f'of the series "{other.description}"'
    unusable = {image.path for image in found.unusable}
    others = [
        PassedOver(image.path, reason_of.get(image.path, "a picture without a position"))
        for image in found.images
        if image.path not in used | unusable
    ]
    damaged = [PassedOver(path, "damaged or of an odd kind") for path in sorted(unusable)]
    return [*found.passed_over, *others, *damaged]


def _placed(volume: DicomVolume, subject: str, wanted: set[int] | None) -> PlacedFrames:
    """The volume's frames in order; those of a series of files reduced to the ones asked for."""
    frames = volume.frames
    is_complete = all(f.position is not None and f.axes is not None for f in frames)
    if wanted is not None and frames[0].file_frames == 1 and is_complete:
        depths = depths_mm(frames)
        ordered = [frames[int(n)] for n in depths.argsort(kind="stable")]
        frames = [f for n, f in enumerate(ordered) if frame_number(ordered, n) in wanted]
        if not frames:
            raise UserError(
                f"{subject} has {len(ordered)} slices, and none of those that were asked for;"
                f" choose from 1-{len(ordered)} with --frames."
            )
    return place_frames(frames, subject) if len(frames) > 1 else place_single(frames[0], subject)


def _counts_from_probe(header: DicomHeader) -> bool:
    frames = header.items("PerFrameFunctionalGroupsSequence")
    return bool(frames and frames[0].items("PlanePositionVolumeSequence"))


def _tags(header: DicomHeader) -> dict[str, float]:
    """The first window, and whether the lowest value is white."""
    shared = header.item("SharedFunctionalGroupsSequence").item("FrameVOILUTSequence")
    tags: dict[str, float] = {}
    for name, keyword in (("window_center", "WindowCenter"), ("window_width", "WindowWidth")):
        value = header.number(keyword)
        value = shared.number(keyword) if value is None else value
        if value is not None:
            tags[name] = value
    if header.text("PhotometricInterpretation") == "MONOCHROME1":
        tags["inverted"] = 1.0
    return tags
