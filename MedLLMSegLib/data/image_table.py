"""Labelled images from a CSV table: their files, classes, patients and further columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike

from .case import SPLITS, LabelledSet, check_cases, checked_splits
from .csv_file import read_csv

TABLE = "labels.csv"  # the name of a folder's table
ALIASES = {
    "image": ("image", "file", "filename", "path"),
    "class": ("class", "cls", "label", "target"),
    "group": ("group", "patient", "patient_id", "subject"),
    "split": ("split",),
    "id": ("id",),
}
# A class without a finding comes first, so that the second of two is the positive one.
NEGATIVE = re.compile(
    r"(no|non|not|without)([ _-].*)?|nofindings?|normal|nor|negative|healthy|control|0|false",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ImageCase:
    """One labelled image.

    target: index of its class. columns: all the table's columns, as text. image: its file.
    channels: files of further channels. A missing image or channel is None, but never all of them.
    """

    id: str
    image: Path | None
    target: int
    group: str
    columns: Mapping[str, str]
    channels: tuple[Path | None, ...] = ()


@dataclass(frozen=True)
class ClassSet(LabelledSet[ImageCase]):
    """All labelled images of a table; `split_cases` and `folds` split them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the network's logits; of two, the second is the positive one."""
        return tuple(self.labels.values())


@dataclass(frozen=True)
class _Row:
    """One row of the table. number: as a spreadsheet shows it. channels: column -> file name."""

    number: int
    image: str
    class_name: str
    group: str
    split: str
    id: str
    columns: dict[str, str]
    channels: dict[str, str]


def read_classes(
    source: PathLike, classes: Sequence[str] | None = None, channels: Sequence[str] = ()
) -> ClassSet:
    """The labelled images of a table.

    source: a CSV file, or a folder with labels.csv. Its columns (or their `ALIASES`) are image (a
    path from the table's folder or its subfolder "images"), class, and maybe group (patient), split
    and id; other columns are kept as they are. Without a column split, splits.json beside the table
    may state the splits as lists of ids, file names or groups. classes: their names in the wanted
    order; None sorts them, a class without finding (`NEGATIVE`) first. channels: further columns
    that name images of the same patient (a CT beside the image, a PET). Their empty cells, and then
    those of the image's own column, are missing images.

    Raises `UserError`, naming the row, for a missing file or class, one class only, an id used
    twice, and a group in two splits.
    """
    path = _table_path(Path(source).expanduser())
    rows = _rows(path, tuple(name.strip().lower() for name in channels))
    names = _class_names(path, [row.class_name for row in rows], classes)
    cases = [_case(path, row, names) for row in rows]
    labels = dict(enumerate(names, 1))
    splits, stated_in = _stated_splits(path, rows, cases)
    check_cases(path, cases, labels)
    return ClassSet(path, tuple(cases), labels, checked_splits(splits, cases, stated_in))


def _table_path(source: Path) -> Path:
    path = source / TABLE if source.is_dir() else source
    if not path.is_file():
        raise UserError(
            f'There is no table of images "{path}"; give a CSV file with the columns image and'
            f" class (and patient), or a folder with such a {TABLE}."
        )
    return path


def _rows(path: Path, channels: tuple[str, ...]) -> list[_Row]:
    content = read_csv(path)
    position = {name: _position(content.columns, aliases) for name, aliases in ALIASES.items()}
    for needed in ("image", "class"):
        if position[needed] is None:
            raise UserError(
                f'The table "{path}" has no column "{needed}" in its first row; begin it with the'
                " headings image,class,patient (and split or id where you want them)."
            )
    _check_channels(path, content.columns, channels, position)
    rows = []
    for line in content.rows:
        by_meaning = {
            name: "" if index is None else line.cells[index] for name, index in position.items()
        }
        row = _Row(
            number=line.number,
            image=by_meaning["image"],
            class_name=by_meaning["class"],
            group=by_meaning["group"],
            split=by_meaning["split"],
            id=by_meaning["id"],
            columns=dict(zip(content.columns, line.cells, strict=False)),
            channels={name: line.cells[content.columns.index(name)] for name in channels},
        )
        _check_row(path, row)
        rows.append(row)
    return rows


def _position(columns: Sequence[str], aliases: Sequence[str]) -> int | None:
    """Where the first of the aliases that the table has stands among its columns."""
    return next((columns.index(alias) for alias in aliases if alias in columns), None)


def _check_channels(
    path: Path, columns: list[str], channels: tuple[str, ...], position: Mapping[str, int | None]
) -> None:
    for name in channels:
        if name not in columns:
            raise UserError(
                f'The table "{path}" has no column "{name}" for that channel; it has'
                f" {', '.join(columns)}: add it, with an empty cell where there is no such image."
            )
        if columns.index(name) in position.values() or channels.count(name) > 1:
            raise UserError(
                f'The column "{name}" of "{path}" is read as something else already, and a channel'
                " needs one of its own; name columns of further images."
            )


def _check_row(path: Path, row: _Row) -> None:
    if not row.image and not any(row.channels.values()):
        raise UserError(
            f'Row {row.number} of "{path}" has no image; write the path of the image file there.'
        )
    if not row.class_name:
        raise UserError(
            f'Row {row.number} of "{path}" has no class; write the name of its class there.'
        )


def _class_names(path: Path, stated: list[str], wanted: Sequence[str] | None) -> list[str]:
    """The classes in order: the wanted ones, else those of the table, without finding first."""
    present = {name for name in stated if name}
    names = list(wanted or sorted(present, key=lambda name: (not NEGATIVE.fullmatch(name), name)))
    unknown = sorted(present - set(names))
    if unknown:
        raise UserError(
            f'"{path}" has the class "{unknown[0]}", which is none of {", ".join(names)}; add it,'
            " or correct the table."
        )
    if len(names) < 2:
        raise UserError(
            f'"{path}" has {"no class" if not names else f"one class only ({names[0]})"}, and at'
            " least two are needed; add images of another class."
        )
    return names


def _case(path: Path, row: _Row, names: list[str]) -> ImageCase:
    image = _file(path, row, row.image)
    channels = [_file(path, row, text, column) for column, text in row.channels.items()]
    case_id = row.id or row.image or next(filter(None, row.channels.values()))
    return ImageCase(
        id=case_id,
        image=image,
        target=names.index(row.class_name),
        group=row.group or case_id,
        columns=row.columns,
        channels=tuple(channels),
    )


def _file(path: Path, row: _Row, text: str, column: str = "") -> Path | None:
    """The file that a cell names, from the table's folder or its subfolder "images".

    None for an empty cell. column: of a further channel, for the message.
    """
    if not text:
        return None
    written = Path(text).expanduser()  # an absolute path stays as it is
    places = [path.parent / written, path.parent / "images" / written]
    existing = next((place for place in places if place.exists()), None)
    if existing is None:
        where = f' in the column "{column}"' if column else ""
        remedy = ", or leave the cell empty where there is none" if column else ""
        raise UserError(
            f'Row {row.number} of "{path}" names the image "{text}"{where}, and there is no file'
            f' "{places[0]}"; correct the path{remedy}.'
        )
    return existing


def _stated_splits(
    path: Path, rows: list[_Row], cases: list[ImageCase]
) -> tuple[dict[str, list[str]] | None, Path]:
    """The stated splits and the file that states them: the table's own column, else splits.json."""
    if any(row.split for row in rows):
        return _splits_in_column(path, rows, cases), path
    file = path.parent / "splits.json"
    if not file.is_file():
        return None, path
    id_of_file = {case.image.name: case.id for case in cases if case.image}
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))
        splits = {
            name: [id_of_file.get(str(entry), str(entry)) for entry in stated[name]]
            for name in SPLITS
            if name in stated
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f'"{file}" has no lists "train", "val" and "test" of images or patients; correct or'
            " remove it."
        ) from error
    return splits, file


def _splits_in_column(path: Path, rows: list[_Row], cases: list[ImageCase]) -> dict[str, list[str]]:
    odd = next((row for row in rows if row.split not in SPLITS), None)
    if odd:
        raise UserError(
            f'Row {odd.number} of "{path}" has the split "{odd.split}", and train, val or'
            " test is needed in every row; correct it."
        )
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for case, row in zip(cases, rows, strict=True):
        splits[row.split].append(case.id)
    return {name: ids for name, ids in splits.items() if ids}
