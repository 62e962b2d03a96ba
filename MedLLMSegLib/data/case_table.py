"""Cases listed in a CSV table: columns image and label, and maybe group, split and id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import scan_name

from .case import SPLITS, Case, group_of
from .csv_file import read_csv

COLUMNS = ("image", "label", "group", "split", "id")
AS_GROUP = (
    "patient",
    "patient_id",
    "patient id",
    "subject",
    "subject_id",
    "subject id",
    "group_id",
    "group id",
)


@dataclass(frozen=True)
class _Row:
    """One line of the table. number: as a spreadsheet shows it, the line of headings being row
    1.
    """

    number: int
    case: Case
    split: str


def table_cases(path: Path) -> tuple[list[Case], dict[str, list[str]] | None]:
    """The cases of a table, and its splits (None without a column split).

    Relative paths start at the table's folder. Without an id a case is called like its image file,
    without a group (or one of `AS_GROUP` in its place) it belongs to the one its id says
    (`group_of`). Commas or semicolons part the columns. Raises `UserError`, naming the row, for a
    missing file, an id used twice, an unknown split and a group in two splits.
    """
    rows = [_row(path, number, values) for number, values in _lines(path)]
    _check_ids(path, rows)
    splits = None
    if any(row.split for row in rows):
        _check_splits(path, rows)
        splits = {
            name: [r.case.id for r in rows if r.split == name]
            for name in SPLITS
            if any(r.split == name for r in rows)
        }
    return [row.case for row in rows], splits


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(row number, column -> text) of each line that is not empty."""
    columns, rows = read_csv(path)
    meant = next((name for name in AS_GROUP if name in columns and "group" not in columns), None)
    columns = ["group" if name == meant else name for name in columns]
    missing = [name for name in ("image", "label") if name not in columns]
    if missing:
        raise UserError(
            f'The table "{path}" has no column "{missing[0]}" in its first row; begin it with the'
            " headings image,label,group (and split or id where you want them)."
        )
    return [
        (number, {name: value for name, value in zip(columns, cells) if name in COLUMNS})
        for number, cells in rows
    ]


def _row(path: Path, number: int, values: dict[str, str]) -> _Row:
    files = {}
    for name in ("image", "label"):
        if not values.get(name):
            raise UserError(
                f'Row {number} of "{path}" has no {name}; write the path of the {name} file there.'
            )
        files[name] = (
            path.parent / Path(values[name]).expanduser()
        )  # an absolute path stays as it is
        if not files[name].exists():
            raise UserError(
                f'Row {number} of "{path}" names the {name} "{values[name]}", and there is no file '
                f'"{files[name]}"; correct the path.'
            )
    case_id = values.get("id") or scan_name(files["image"])
    split = values.get("split", "")
    if split not in ("", *SPLITS):
        raise UserError(
            f'Row {number} of "{path}" has the split "{split}", and train, val or test is needed; '
            "correct it."
        )
    return _Row(
        number,
        Case(case_id, files["image"], files["label"], values.get("group") or group_of(case_id)),
        split,
    )


def _check_ids(path: Path, rows: list[_Row]) -> None:
    first: dict[str, int] = {}
    for row in rows:
        before = first.setdefault(row.case.id, row.number)
        if before != row.number:
            raise UserError(
                f'Rows {before} and {row.number} of "{path}" are both called "{row.case.id}"; add a'
                " column id with a name of its own for each case, or remove one row."
            )


def _check_splits(path: Path, rows: list[_Row]) -> None:
    first: dict[str, _Row] = {}
    for row in rows:
        if not row.split:
            raise UserError(
                f'Row {row.number} of "{path}" has no split, and other rows have one; write train,'
                " val or test in every row, or remove the column to have the cases split at"
                " random."
            )
        before = first.setdefault(row.case.group, row)
        if before.split != row.split:
            raise UserError(
                f'The group "{row.case.group}" is in two splits of "{path}" (row {before.number}'
                f" says {before.split}, row {row.number} says {row.split}), so what is learnt from"
                " it would be tested on it; move it into one."
            )
