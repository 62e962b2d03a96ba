"""One record for each image plane of DICOM files, whatever kind of file it comes from.

Sources: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.16 (functional groups of enhanced multi-frame
files), C.8.4 (nuclear medicine) and C.8.24.3 (ultrasound volumes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array

from .header import DicomHeader, damaged
from .sort import ImageFile

# What tells the volumes apart that lie in the same place: name -> group of an enhanced file's
# frame ("" for the file itself, as in classic files), and the keyword
_KEYS = (
    ("stack", "FrameContentSequence", "StackID"),
    ("time point", "FrameContentSequence", "TemporalPositionIndex"),
    ("time point", "TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("time point", "", "TemporalPositionIdentifier"),
    ("trigger time", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("trigger time", "", "TriggerTime"),
    ("echo time", "MREchoSequence", "EffectiveEchoTime"),
    ("echo time", "", "EchoTime"),
    ("b-value", "MRDiffusionSequence", "DiffusionBValue"),
    ("b-value", "", "DiffusionBValue"),
    ("diffusion direction", "", "DiffusionGradientOrientation"),
    ("component", "MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("image type", "MRImageFrameTypeSequence", "FrameType"),
    ("image type", "CTImageFrameTypeSequence", "FrameType"),
    ("image type", "PETFrameTypeSequence", "FrameType"),
    ("image type", "", "ImageType"),
    ("energy", "CTAdditionalXRaySourceSequence", "KVP"),
    ("acquisition", "FrameContentSequence", "FrameAcquisitionNumber"),
    ("acquisition", "", "AcquisitionNumber"),
    ("acquisition time", "", "AcquisitionTime"),
)
# Of nuclear medicine: one number for each frame
_NM_VECTORS = {
    "energy window": "EnergyWindowVector",
    "detector": "DetectorVector",
    "time slot": "TimeSlotVector",
    "phase": "PhaseVector",
}
# The size of a pixel in a projection, and of a picture that was scanned
_PLANE_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image plane.

    path, index: its file, and its number in there, from 0. file_frames: how many the file holds.
    size: (columns, rows). position: (3,) LPS mm of the first pixel's centre. axes: (2, 3) LPS
    directions along a row and down a column. spacing_mm: (between rows, between columns). Each of
    these is None where the file does not state it. thickness_mm: of the slice, 0.0 if unknown.
    slope, intercept: from stored to real values. keys: what tells volumes in one place apart.
    instance: its number in the series, for the order of frames that nothing else tells apart.
    aspect: a pixel's height as a part of its width, where the file states no spacing.
    """

    path: Path
    index: int
    file_frames: int
    size: tuple[int, int]
    position: Array | None
    axes: Array | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float = 0.0
    slope: float = 1.0
    intercept: float = 0.0
    keys: dict[str, str] = field(default_factory=dict)
    instance: int = 0
    aspect: float = 1.0


def frames_of(image: ImageFile) -> list[Frame]:
    """The frames of one file. Raises `UserError` for one that contradicts itself."""
    header, path = image.header, image.path
    _check_length(header, path)
    if "MOSAIC" in header.texts("ImageType"):
        raise UserError(
            f'"{path}" is a mosaic (all slices in one picture, as some MR scanners store series'
            " over time), and single slices are needed; convert it to NIfTI with dcm2niix."
        )
    per_frame = header.items("PerFrameFunctionalGroupsSequence")
    shared = header.item("SharedFunctionalGroupsSequence")
    if per_frame:
        if len(per_frame) != header.frames:
            raise UserError(
                f'"{path}" states {header.frames} frames and describes {len(per_frame)}; '
                "export it again."
            )
        groups = [_Groups(own, shared, header) for own in per_frame]
        return [_enhanced_frame(path, n, group) for n, group in enumerate(groups)]
    if header.frames == 1:
        return [_classic_frame(path, header)]
    return _multi_frame(path, header)


def _check_length(header: DicomHeader, path: Path) -> None:
    """Raise `UserError` where a file is far too short for the pixels that it states.

    Before anything is made for each of them: a damaged number may be in the millions.
    """
    columns, rows = header.size
    bits = (header.number("BitsAllocated") or 8) * (header.number("SamplesPerPixel") or 1)
    expected = header.frames * columns * rows * bits / 8
    length = path.stat().st_size
    is_packed = header.transfer_syntax.startswith("1.2.840.10008.1.2.") and (
        header.transfer_syntax not in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
    )
    if expected > length and (not is_packed or expected > max(2**28, 2000 * length)):
        raise damaged(path)


@dataclass(frozen=True, eq=False)
class _Groups:
    """The functional groups of one frame: its own, those of all frames, then the file itself."""

    own: DicomHeader
    shared: DicomHeader
    header: DicomHeader

    def of(self, sequence: str, keyword: str) -> DicomHeader:
        """Where an element of a group stands."""
        for place in (self.own.item(sequence), self.shared.item(sequence)):
            if place.value(keyword) is not None:
                return place
        return self.header

    @property
    def is_probe(self) -> bool:
        """Whether positions count from the ultrasound probe."""
        return bool(self.own.items("PlanePositionVolumeSequence"))


def _enhanced_frame(path: Path, index: int, groups: _Groups) -> Frame:
    """A frame of an enhanced or legacy converted file, by its functional groups."""
    if groups.is_probe:
        position = ("PlanePositionVolumeSequence", "ImagePositionVolume")
        axes = ("PlaneOrientationVolumeSequence", "ImageOrientationVolume")
    else:
        position = ("PlanePositionSequence", "ImagePositionPatient")
        axes = ("PlaneOrientationSequence", "ImageOrientationPatient")
    measures = groups.of("PixelMeasuresSequence", "PixelSpacing")
    values = groups.of("PixelValueTransformationSequence", "RescaleSlope")
    return Frame(
        path=path,
        index=index,
        file_frames=groups.header.frames,
        size=groups.header.size,
        position=_vector(groups.of(*position), position[1]),
        axes=_axes(groups.of(*axes), axes[1]),
        spacing_mm=_pair(measures, "PixelSpacing"),
        thickness_mm=measures.number("SliceThickness") or 0.0,
        slope=_or_one(values.number("RescaleSlope")),
        intercept=values.number("RescaleIntercept") or 0.0,
        keys=_enhanced_keys(groups),
        instance=index,
    )


def _enhanced_keys(groups: _Groups) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name, sequence, keyword in _KEYS:
        text = groups.of(sequence, keyword).text(keyword) if sequence else ""
        if text:
            keys.setdefault(name, text)
    diffusion = groups.of("MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    direction = diffusion.item("DiffusionGradientDirectionSequence")
    if direction.text("DiffusionGradientOrientation"):
        keys["diffusion direction"] = direction.text("DiffusionGradientOrientation")
    return keys


def _classic_frame(path: Path, header: DicomHeader) -> Frame:
    """The only image of a file."""
    spacings = (_pair(header, keyword) for keyword in _PLANE_SPACINGS)
    keys: dict[str, str] = {}
    for name, sequence, keyword in _KEYS:
        if not sequence and header.text(keyword):
            keys.setdefault(name, header.text(keyword))
    thickness = header.number("SpacingBetweenSlices") or header.number("SliceThickness") or 0.0
    return Frame(
        path=path,
        index=0,
        file_frames=1,
        size=header.size,
        position=_vector(header, "ImagePositionPatient"),
        axes=_axes(header, "ImageOrientationPatient"),
        spacing_mm=next((spacing for spacing in spacings if spacing is not None), None),
        thickness_mm=abs(thickness),
        slope=_or_one(header.number("RescaleSlope")),
        intercept=header.number("RescaleIntercept") or 0.0,
        keys=keys,
        instance=int(header.number("InstanceNumber") or 0),
        aspect=_aspect(header),
    )


def _multi_frame(path: Path, header: DicomHeader) -> list[Frame]:
    """The frames of a file without functional groups.

    Only nuclear medicine says where they lie: a step along the normal for each slice.
    """
    detector = header.item("DetectorInformationSequence")
    first = _vector(detector, "ImagePositionPatient")
    axes = _axes(detector, "ImageOrientationPatient")
    step_mm = header.number("SpacingBetweenSlices")
    is_placed = (
        "RECON TOMO" in " ".join(header.texts("ImageType"))
        and first is not None
        and axes is not None
        and step_mm is not None
    )
    slices = _nm_slices(header)
    frames = []
    for index in range(header.frames):
        position = None
        if is_placed and first is not None and axes is not None and step_mm is not None:
            position = first + slices[index] * step_mm * np.cross(axes[0], axes[1])
        frames.append(
            Frame(
                path=path,
                index=index,
                file_frames=header.frames,
                size=header.size,
                position=position,
                axes=axes if is_placed else _axes(header, "ImageOrientationPatient"),
                spacing_mm=_pair(header, "PixelSpacing"),
                slope=_or_one(header.number("RescaleSlope")),
                intercept=header.number("RescaleIntercept") or 0.0,
                keys=_nm_keys(header, index),
                instance=index,
            )
        )
    return frames


def _aspect(header: DicomHeader) -> float:
    """Height of a pixel to its width (DICOM PS3.3, C.7.6.3.1.7); 1.0 if it is not stated."""
    ratio = _pair(header, "PixelAspectRatio")
    return ratio[0] / ratio[1] if ratio is not None and min(ratio) > 0 else 1.0


def _nm_slices(header: DicomHeader) -> list[float]:
    """The place of each frame in its stack, from 0."""
    numbers = header.numbers("SliceVector")
    if len(numbers) == header.frames:
        return [number - 1 for number in numbers]
    return [float(index) for index in range(header.frames)]


def _nm_keys(header: DicomHeader, index: int) -> dict[str, str]:
    vectors = {name: header.texts(keyword) for name, keyword in _NM_VECTORS.items()}
    return {name: texts[index] for name, texts in vectors.items() if len(texts) == header.frames}


def _or_one(slope: float | None) -> float:
    """A slope of zero, which would wipe the image out, stands for none."""
    return slope or 1.0


def _vector(header: DicomHeader, keyword: str) -> Array | None:
    numbers = header.finite(keyword, 3)
    return None if numbers is None else np.array(numbers)


def _pair(header: DicomHeader, keyword: str) -> tuple[float, float] | None:
    numbers = header.finite(keyword, 2)
    return None if numbers is None else (numbers[0], numbers[1])


def _axes(header: DicomHeader, keyword: str) -> Array | None:
    numbers = header.finite(keyword, 6)
    return None if numbers is None else np.array(numbers).reshape(2, 3)
