"""Which scans the user's paths (files, folders, DICOM series) stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.io.dicom.sort import is_dicom, slice_series

from .file_errors import check_link
from .itk_images import READABLE, scan_suffix
from .volume_files import DICOM_SUFFIXES, RECORD_SUFFIX, SEGMENTATION_SUFFIXES, scan_name


@dataclass(frozen=True)
class FolderContents:
    """What lies directly in a folder: scan files (without our results), DICOM files, folders."""

    scan_files: list[Path]
    dicom_files: list[Path]
    folders: list[Path]

    @property
    def is_dicom_series(self) -> bool:
        """Whether the folder as a whole is one scan."""
        return bool(self.dicom_files) and not self.scan_files


def find_scans(paths: Iterable[PathLike]) -> list[Path]:
    """The scans that files and folders stand for, each once, in the order of ``paths``.

    A folder with DICOM files in it, and no other scan files, is one scan. Any other folder stands
    for its scan files and those of its direct subfolders that are DICOM series, sorted. Several
    files of one DICOM series stand for that series once. A path that does not exist is kept: the
    error comes when it is loaded. Raises `UserError` for a folder without a scan.
    """
    scans: list[Path] = []
    seen: set[Path | tuple[Path, str]] = set()
    for path in (Path(p).expanduser() for p in paths):
        for scan in _scans_in(path) if os.path.isdir(path) else [path]:
            key = _series_key(scan) or scan.resolve()
            if key not in seen:
                seen.add(key)
                scans.append(scan)
    return scans


def _series_key(path: Path) -> tuple[Path, str] | None:
    """Folder and series of a DICOM slice.

    None for any other file and for a damaged one: the error comes when it is loaded.
    """
    series = slice_series(path) if is_dicom(path) else None
    return None if series is None else (path.parent.resolve(), series)


def _scans_in(folder: Path) -> list[Path]:
    try:
        contents = _contents_of(folder)
        if contents.is_dicom_series:
            return [folder]
        series = [p for p in contents.folders if _contents_of(p).is_dicom_series]
    except OSError as error:
        raise UserError(
            f'The folder "{folder}" may not be read ({error.strerror}); check its permissions.'
        ) from error
    scans = sorted([*contents.scan_files, *contents.dicom_files, *series])
    if not scans:
        raise UserError(
            f'The folder "{folder}" holds no scan that can be read here ({READABLE}); '
            "name another folder or the scan's file."
        )
    return scans


def _contents_of(folder: Path) -> FolderContents:
    """The contents of a folder without hidden files and our own results.

    Raises `UserError` for a link to a missing file that may be a slice; another one is kept as a
    scan, and the error comes when it is loaded.
    """
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for path in entries:
        if path.suffix.lower() in ("", *DICOM_SUFFIXES):
            check_link(path)  # it may stand for a slice
    return FolderContents(
        scan_files=[p for p in entries if scan_suffix(p) and not p.is_dir() and not _is_result(p)],
        dicom_files=[p for p in entries if is_dicom(p)],
        folders=[p for p in entries if p.is_dir()],
    )


def _is_result(path: Path) -> bool:
    """Whether a file is a result of ours: by its name, or by the record that lies beside it."""
    if path.name.lower().endswith(SEGMENTATION_SUFFIXES):
        return True
    record = path.with_name(scan_name(path) + RECORD_SUFFIX)
    return path.name.endswith(".nii.gz") and record.exists()
