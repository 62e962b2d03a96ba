"""What a batch writes for each scan, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import LABEL_SUFFIXES, RECORD_SUFFIX, scan_name
from MedLLMSegLib.io.write_images import fits, no_right_angles
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.region import Region
from MedLLMSegLib.segmentation.time_series import SERIES_SUFFIXES

from .bids.derivative_files import DerivativeFiles

VOLUMETRY_SUFFIX = "_structures.csv"  # of the table with one row a structure


@dataclass(frozen=True)
class SegmentOptions:
    """What to write besides the label map.

    probabilities, uncertainty: files for the maps of one scan. command: the line that repeats the
    run, kept with each result. augment: more views of the scan to average. frames: every image of a
    series (4D) by itself; then the label maps are one 4D NIfTI, and the volumes a table.
    dicom_series, dicom_frames: which volume of DICOM files to read, as for `load_volume`.
    assume_orientation: of scans that state none, such as "RAS". structures: names or groups of the
    structures to write; () for all. volumetry: also write a table with one row a structure.
    resolution_mm: of the results, if they are not to lie on the scan's own grid. region: where to
    look; None for everywhere. further_images: scan -> the other images of its patient, in the
    model's order. units: name of a channel -> what the user says its numbers are
    (`data.channel_images.stated_as`). with_model: a loaded model whose parts of the hippocampus go
    into the results.
    """

    side: str | None = None
    report: bool = False
    probabilities: Path | None = None
    overwrite: bool = False
    command: str = ""
    uncertainty: Path | None = None
    augment: int = 0
    frames: bool = False
    dicom_series: str | None = None
    dicom_frames: str | None = None
    assume_orientation: str | None = None
    structures: tuple[str, ...] = ()
    volumetry: bool = False
    resolution_mm: float | None = None
    region: Region | None = None
    with_model: SegmenterModel | None = None
    further_images: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputPaths:
    """Where the results of one scan go.

    report: a folder. record: None for a single output file. table: of a series, the volumes over
    time. volumetry: of one scan, a row for each structure. left_out: label files that cannot hold
    the scan's grid and are not written. derivative: in a BIDS dataset, what lies beside the label
    map.
    """

    labels: tuple[Path, ...]
    report: Path | None = None
    probabilities: Path | None = None
    uncertainty: Path | None = None
    record: Path | None = None
    table: Path | None = None
    volumetry: Path | None = None
    left_out: tuple[Path, ...] = ()
    derivative: DerivativeFiles | None = None

    @property
    def maps(self) -> list[Path]:
        """The files of the requested maps."""
        return [path for path in (self.probabilities, self.uncertainty) if path]

    @property
    def files(self) -> list[Path]:
        """Every file that must exist when the scan is finished."""
        files = [*self.labels, *self.maps]
        if self.report:
            files.append(self.report / "report.html")
        files += [path for path in (self.table, self.volumetry) if path]
        if self.derivative:
            files += [self.derivative.lookup, self.derivative.sidecar]
        return files


def is_file_output(path: Path) -> bool:
    """Whether an output path names one file (by its ending) and not a folder."""
    return path.name.lower().endswith(LABEL_SUFFIXES)


def paths_for_file(output: Path, options: SegmentOptions) -> OutputPaths:
    """One file, with the report in a folder and the volumetry next to it; of a series, the table.

    Raises `UserError` for a format that cannot hold the label maps of a series.
    """
    lower = output.name.lower()
    suffix = next(suffix for suffix in LABEL_SUFFIXES if lower.endswith(suffix))
    name = output.name[: -len(suffix)]
    if options.frames:
        if not lower.endswith(SERIES_SUFFIXES):
            raise UserError(
                f'"{output.name}" cannot hold the label maps of a series; end it with .nii.gz, or'
                " name a folder."
            )
        return OutputPaths((output,), table=output.with_name(f"{name}_volumes.csv"))
    return OutputPaths(
        (output,),
        report=output.with_name(f"{name}_report") if options.report else None,
        probabilities=options.probabilities,
        uncertainty=options.uncertainty,
        volumetry=output.with_name(f"{name}{VOLUMETRY_SUFFIX}") if options.volumetry else None,
    )


def paths_in_folder(name: str, folder: Path, options: SegmentOptions) -> OutputPaths:
    """``name``.seg.nrrd, ``name``.nii.gz and a record in a folder.

    Of a series ``name``.nii.gz, ``name``_volumes.csv and a record.
    """
    record = folder / f"{name}{RECORD_SUFFIX}"
    if options.frames:
        return OutputPaths(
            (folder / f"{name}.nii.gz",), record=record, table=folder / f"{name}_volumes.csv"
        )
    return OutputPaths(
        (folder / f"{name}.seg.nrrd", folder / f"{name}.nii.gz"),
        report=folder / f"{name}_report" if options.report else None,
        probabilities=options.probabilities,
        uncertainty=options.uncertainty,
        record=record,
        volumetry=folder / f"{name}{VOLUMETRY_SUFFIX}" if options.volumetry else None,
    )


def possible_paths(paths: OutputPaths, volume: Volume) -> OutputPaths:
    """The paths of the files that can hold results on the volume's grid.

    In a folder, the label map in NIfTI is left out where the axes are not at right angles, as
    the one in .seg.nrrd holds the same. Raises `UserError`, before the work, for any other file.
    """
    for path in paths.maps:
        if not fits(volume, path):
            raise no_right_angles(path)
    unfit = tuple(path for path in paths.labels if not fits(volume, path))
    if unfit and (paths.record is None or len(unfit) == len(paths.labels)):
        raise no_right_angles(unfit[0])
    kept = tuple(path for path in paths.labels if path not in unfit)
    return replace(paths, labels=kept, left_out=unfit)


def unique_names(scans: Sequence[Path]) -> list[str]:
    """A result name for each scan: its own, with its folder's in front where two are the same.

    Raises `UserError` where that does not tell them apart.
    """
    plain = [scan_name(scan) for scan in scans]
    names = [
        f"{scan.resolve().parent.name}_{name}" if plain.count(name) > 1 else name
        for scan, name in zip(scans, plain, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f'Two of the scans are called "{name}"; segment them into different folders, or'
                " rename one."
            )
    return names
