"""A BIDS dataset on disk, and which of its files are scans to segment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.types import Json

from .names import read_name

DESCRIPTION = "dataset_description.json"
# Images that show anatomy in one contrast. What a scanner's software or a fit computes (T1map,
# MP2RAGE's single inversions, angiograms, defacing masks) is none.
SCAN_SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "inplaneT1", "inplaneT2")
_NOT_MAGNITUDE = ("phase", "real", "imag")  # labels of the entity part


def read_description(folder: Path) -> Json | None:
    """The dataset's description; None where there is none. {} for a damaged one."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        description = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}


def is_raw_dataset(folder: Path) -> bool:
    """Whether a folder is a BIDS dataset of scans, and not one of results."""
    description = read_description(folder)
    return description is not None and description.get("DatasetType", "raw") == "raw"


def find_bids_scans(folder: Path, suffixes: Sequence[str] = ()) -> list[Path]:
    """The scans of a dataset, sorted: of each subject and session, those in the folder anat.

    suffixes: such as "T1w"; () for all of `SCAN_SUFFIXES`. Raises `UserError` for a dataset of
    derivatives, one without such a scan, and a suffix that is none of a scan.
    """
    unknown = [suffix for suffix in suffixes if suffix not in SCAN_SUFFIXES]
    if unknown:
        raise UserError(
            f'"{unknown[0]}" is not the suffix of a scan that can be segmented; use'
            f" {', '.join(SCAN_SUFFIXES)}."
        )
    if not folder.is_dir():
        raise UserError(f'There is no folder "{folder}"; name the folder of a BIDS dataset.')
    if read_description(folder) and not is_raw_dataset(folder):
        raise UserError(
            f'"{folder}" is a BIDS dataset of derivatives; name the folder of the dataset with the'
            " scans themselves."
        )
    wanted = suffixes or SCAN_SUFFIXES
    try:
        scans = [path for path in _anatomical(folder) if _is_scan(path, wanted)]
    except OSError as error:
        raise UserError(
            f'The folder "{folder}" may not be read ({error.strerror}); check its permissions.'
        ) from error
    if not scans:
        raise UserError(
            f'The BIDS dataset "{folder}" holds no scan'
            f" (sub-*/anat or sub-*/ses-*/anat with {', '.join(wanted)}); check its layout."
        )
    return scans


def _anatomical(folder: Path) -> list[Path]:
    os.listdir(folder)  # glob says nothing of a folder that may not be read
    patterns = ("sub-*/anat/sub-*", "sub-*/ses-*/anat/sub-*")
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def _is_scan(path: Path, suffixes: Sequence[str]) -> bool:
    name = read_name(path)
    if name is None or name.suffix not in suffixes or name.label("part") in _NOT_MAGNITUDE:
        return False
    subject = next(parent.name for parent in path.parents if parent.name.startswith("sub-"))
    return subject == f"sub-{name.label('sub')}"
