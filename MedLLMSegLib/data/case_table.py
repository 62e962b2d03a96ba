"""Cases listed in a CSV table: columns image and label, and maybe group, split and id.

Cases of several images have a column for each, image_ct and image_pet for example, in place of
image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import scan_name

from .case import SPLITS, Case, group_of
from .csv_file import read_csv

COLUMNS = ("image", "label", "group", "split", "id")
CHANNEL_COLUMN = "image_"  # begins the heading of an image of several
GROUP_COLUMNS = (  # other headings of the column "group"
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
    """One row of the table. number: as a spreadsheet shows it. split: "" if it states none."""

    number: int
    case: Case
    split: str


@dataclass(frozen=True)
class CaseTable:
    """What a table says. splits: None without a column split. channels: see `CaseSet`."""

    cases: list[Case]
    splits: dict[str, list[str]] | None
    channels: tuple[str, ...] = ()


def table_cases(path: Path) -> CaseTable:
    """The cases of a table.

    Relative paths start at the table's folder. Without an id, a case is called like its image file.
    Without a group (or one of `GROUP_COLUMNS`), it belongs to the one its id says (`group_of`).
    Raises `UserError`, naming the row, for a missing file, an id used twice, an unknown split and a
    group in two splits.
    """
    columns, numbered = _numbered_values(path)
    rows = [_row(path, number, values, columns) for number, values in numbered]
    _check_ids(path, rows)
    cases = [row.case for row in rows]
    channels = tuple(name.removeprefix(CHANNEL_COLUMN) for name in columns if name != "image")
    if not any(row.split for row in rows):
        return CaseTable(cases, None, channels)
    _check_splits(path, rows)
    splits = {name: [row.case.id for row in rows if row.split == name] for name in SPLITS}
    return CaseTable(cases, {name: ids for name, ids in splits.items() if ids}, channels)


def _numbered_values(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of images, and (row number, column -> text) of each row, for these columns and
    those in `COLUMNS`.
    """
    content = read_csv(path)
    columns = content.columns
    if "group" not in columns:
        other = next((name for name in GROUP_COLUMNS if name in columns), None)
        columns = ["group" if name == other else name for name in columns]
    images = [name for name in columns if name.startswith(CHANNEL_COLUMN) and name != "image_"]
    if "image" in columns:  # then other columns are the user's own
        images = ["image"]
    missing = [name for name in (*(images or ["image"]), "label") if name not in columns]
    if missing:
        raise UserError(
            f'The table "{path}" has no column "{missing[0]}" in its first row; begin it with the'
            " headings image,label,group (and split or id where you want them)."
        )
    known = {*COLUMNS, *images}
    return images, [(row.number, _known_values(columns, row.cells, known)) for row in content.rows]


def _known_values(columns: list[str], cells: list[str], known: set[str]) -> dict[str, str]:
    named = zip(columns, cells, strict=False)  # cells beyond the headings are ignored
    return {name: value for name, value in named if name in known}


def _row(path: Path, number: int, values: dict[str, str], columns: list[str]) -> _Row:
    image, *channels = (_existing_file(path, number, values, name) for name in columns)
    label = _existing_file(path, number, values, "label")
    case_id = values.get("id") or scan_name(image)
    split = values.get("split", "")
    if split not in ("", *SPLITS):
        raise UserError(
            f'Row {number} of "{path}" has the split "{split}", and train, val or test is needed; '
            "correct it."
        )
    group = values.get("group") or group_of(case_id)
    return _Row(number, Case(case_id, image, label, group, tuple(channels)), split)


def _existing_file(path: Path, number: int, values: dict[str, str], name: str) -> Path:
    """The file that a row names in a column; `UserError` if there is none."""
    if not values.get(name):
        raise UserError(
            f'Row {number} of "{path}" has no {name}; write the path of the {name} file there.'
        )
    file = path.parent / Path(values[name]).expanduser()  # an absolute path stays as it is
    if not file.exists():
        raise UserError(
            f'Row {number} of "{path}" names the {name} "{values[name]}", and there is no file '
            f'"{file}"; correct the path.'
        )
    return file


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
