"""Labelled brains whose label maps have many numbers: folders of images and labels, or a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.data import Case, file_of, group_of, listed_ids, split_ids
from MedLLMSegLib.data.case_table import table_cases
from MedLLMSegLib.data.csv_file import read_csv
from MedLLMSegLib.io.itk_images import scan_suffix
from MedLLMSegLib.io.volume_files import scan_name

SUBJECTS = "subjects.csv"  # columns case and subject: whose scan each one is


def brain_cases(data: Path, cases: PathLike | Sequence[str] | None = None) -> tuple[Case, ...]:
    """The cases to measure: those named, else the data's "test" split, else all.

    data: a table (see `data.case_table`), a folder with images and labels, or a folder of images
    with a folder labels beside it; files of one case have one name. A subjects.csv beside the
    folders says which scans are of one person. Raises `UserError`.
    """
    every = table_cases(data).cases if data.is_file() else _folder_cases(data)
    by_id = {case.id: case for case in every}
    if cases is not None:
        wanted = listed_ids(cases)
    elif (data / "splits.json").is_file():
        wanted = split_ids(data, "test")
    else:
        wanted = list(by_id)
    unknown = [case_id for case_id in wanted if case_id not in by_id]
    if unknown:
        raise UserError(f'There is no case "{unknown[0]}" in "{data}"; correct the list of cases.')
    if not wanted:
        raise UserError(f'There is no labelled case in "{data}"; name at least one.')
    return tuple(by_id[case_id] for case_id in dict.fromkeys(wanted))


def _folder_cases(data: Path) -> list[Case]:
    images, labels = _folders(data)
    subject_of = _subjects(labels.parent / SUBJECTS)
    image_ids = {scan_name(path) for path in images.iterdir() if scan_suffix(path)}
    return [
        Case(
            case_id,
            file_of(images, case_id),
            file_of(labels, case_id),
            subject_of.get(case_id) or group_of(case_id),
        )
        for case_id in sorted(scan_name(path) for path in labels.iterdir() if scan_suffix(path))
        if case_id in image_ids
    ]


def _folders(data: Path) -> tuple[Path, Path]:
    """The folder of the images and that of the label maps."""
    for images, labels in (
        (data / "images", data / "labels"),
        (data / "imagesTr", data / "labelsTr"),
        (data, data.parent / "labels"),
    ):
        if images.is_dir() and labels.is_dir():
            return images, labels
    raise UserError(
        f'"{data}" has no label maps; put images into a folder images and label maps of the same'
        " names into a folder labels, or give a table with the columns image, label and group."
    )


def _subjects(path: Path) -> dict[str, str]:
    """Case -> person, as far as the file says; {} without it."""
    if not path.is_file():
        return {}
    content = read_csv(path)
    if not {"case", "subject"} <= set(content.columns):
        return {}
    case, subject = content.columns.index("case"), content.columns.index("subject")
    return {row.cells[case]: row.cells[subject] for row in content.rows}
