"""Labelled images from a CSV table: which file, which class, whose patient, and whatever else
the table says of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError

from . import CaseSet
from .case import SPLITS, checked
from .csv_file import read_csv

TABLE = "labels.csv"  # what a folder's table is called
ALIASES = {
    "image": ("image", "file", "filename", "path"),
    "class": ("class", "cls", "label", "target"),
    "group": ("group", "patient", "patient_id", "subject"),
    "split": ("split",),
    "id": ("id",),
}
# The class without a finding is the first, so that the second of two is the one that is looked for.
NEGATIVE = re.compile(
    r"(no|non|not|without)([ _-].*)?|nofindings?|normal|nor|negative|healthy|control|0|false",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ImageCase:
    """One labelled image. target: index of its class. columns: everything the table says of it, as
    text.

    image: its file; channels: those of further channels, as asked for; None for one that is
    missing, never for all.
    """

    id: str
    image: Path | None
    target: int
    group: str
    columns: Mapping[str, str]
    channels: tuple[Path | None, ...] = ()


@dataclass(frozen=True)
class ClassSet(CaseSet):
    """All labelled images of a table; `cases.split_cases` and `cases.folds` part them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the network's logits; of two, the second is the one that is
        looked for.
        """
        return tuple(self.labels.values())


def read_classes(
    source, classes: Sequence[str] | None = None, channels: Sequence[str] = ()
) -> ClassSet:
    """The labelled images of a table.

    source: a CSV file, or a folder with labels.csv. Columns (or their `ALIASES`): image (a path
    from the table's folder or from its subfolder "images"), class, and maybe group (patient), split
    and id; other columns are kept as they are. splits.json beside the table states the splits where
    the column does not: lists of ids, file names or groups. classes: their names in the wanted
    order; None sorts them, a class without finding (`NEGATIVE`) first. channels: further columns
    that name images of the same patient (a CT beside the image, a PET); an empty cell of theirs, or
    then of the image's own, is a missing one. Raises `UserError` naming the row for a missing file
    or class, one class only, an id used twice, and a group in two splits.
    """
    path = _table_path(Path(source).expanduser())
    rows = _rows(path, tuple(name.strip().lower() for name in channels))
    names = _class_names(path, [row["class"] for row in rows], classes)
    cases = [_case(path, row, names) for row in rows]
    splits, stated_in = _splits(path, rows, cases)
    found = checked(path, cases, dict(enumerate(names, 1)), splits, stated_in)
    return ClassSet(found.source, found.cases, found.labels, found.splits)


def _table_path(source: Path) -> Path:
    path = source / TABLE if source.is_dir() else source
    if not path.is_file():
        raise UserError(
            f'There is no table of images "{path}"; give a CSV file with the columns image and'
            f" class (and patient), or a folder with such a {TABLE}."
        )
    return path


def _rows(path: Path, channels: tuple[str, ...]) -> list[dict]:
    """The table's rows under the names of `ALIASES`, with the row's number as "row", all its
    columns under "columns" and what those of further channels name under "channels".
    """
    columns, lines = read_csv(path)
    named = {
        name: next((columns.index(a) for a in also if a in columns), None)
        for name, also in ALIASES.items()
    }
    for needed in ("image", "class"):
        if named[needed] is None:
            raise UserError(
                f'The table "{path}" has no column "{needed}" in its first row; begin it with the'
                " headings image,class,patient (and split or id where you want them)."
            )
    _check_channels(path, columns, channels, named)
    rows = []
    for number, cells in lines:
        rows.append(
            {
                "row": number,
                "columns": dict(zip(columns, cells)),
                "channels": {name: cells[columns.index(name)] for name in channels},
                **{name: "" if at is None else cells[at] for name, at in named.items()},
            }
        )
        _check_row(path, rows[-1])
    return rows


def _check_channels(
    path: Path, columns: list[str], channels: tuple[str, ...], named: Mapping[str, int | None]
) -> None:
    for name in channels:
        if name not in columns:
            raise UserError(
                f'The table "{path}" has no column "{name}" for that channel; it has'
                f" {', '.join(columns)}: add it, with an empty cell where there is no such image."
            )
        if columns.index(name) in named.values() or channels.count(name) > 1:
            raise UserError(
                f'The column "{name}" of "{path}" is read as something else already, and a channel'
                " needs one of its own; name columns of further images."
            )


def _check_row(path: Path, row: dict) -> None:
    for needed, means in (("image", "path of the image file"), ("class", "name of its class")):
        if not row[needed] and not (needed == "image" and any(row["channels"].values())):
            raise UserError(
                f'Row {row["row"]} of "{path}" has no {needed}; write the {means} there.'
            )


def _class_names(path: Path, found: list[str], asked: Sequence[str] | None) -> list[str]:
    present = {name for name in found if name}
    names = (
        list(asked)
        if asked
        else sorted(present, key=lambda name: (not NEGATIVE.fullmatch(name), name))
    )
    if unknown := sorted(present - set(names)):
        raise UserError(
            f'"{path}" has the class "{unknown[0]}", which is none of {", ".join(names)}; add it,'
            " or correct the table."
        )
    if len(names) < 2:
        raise UserError(
            f'"{path}" has {"no class" if not names else f"one class only ({names[0]})"}, and two'
            " at least are needed to tell them apart; add images of another."
        )
    return names


def _case(path: Path, row: dict, names: list[str]) -> ImageCase:
    image = _file(path, row, row["image"])
    channels = tuple(
        _file(path, row, written, column) for column, written in row["channels"].items()
    )
    name = row["id"] or row["image"] or next(filter(None, row["channels"].values()))
    return ImageCase(
        name, image, names.index(row["class"]), row["group"] or name, row["columns"], channels
    )


def _file(path: Path, row: dict, text: str, column: str = "") -> Path | None:
    """The file that a cell names, from the table's folder or its subfolder "images"; None for an
    empty cell.
    """
    if not text:
        return None
    written = Path(text).expanduser()
    places = [
        path.parent / written,
        path.parent / "images" / written,
    ]  # an absolute path stays as it is
    found = next((place for place in places if place.exists()), None)
    if found is None:
        where, leave = (
            (f' in the column "{column}"', ", or leave the cell empty where there is none")
            if column
            else ("", "")
        )
        raise UserError(
            f'Row {row["row"]} of "{path}" names the image "{text}"{where}, and there is no file'
            f' "{places[0]}"; correct the path{leave}.'
        )
    return found


def _splits(
    path: Path, rows: list[dict], cases: list[ImageCase]
) -> tuple[dict[str, list[str]] | None, Path]:
    """The stated splits and the file that states them: the table's own column, else splits.json."""
    if any(row["split"] for row in rows):
        odd = next((row for row in rows if row["split"] not in SPLITS), None)
        if odd:
            raise UserError(
                f'Row {odd["row"]} of "{path}" has the split "{odd["split"]}", and train, val or'
                " test is needed in every row; correct it."
            )
        found = {
            name: [c.id for c, row in zip(cases, rows) if row["split"] == name] for name in SPLITS
        }
        return {name: ids for name, ids in found.items() if ids}, path
    beside = path.parent / "splits.json"
    if not beside.is_file():
        return None, path
    by_file = {case.image.name: case.id for case in cases if case.image}
    try:
        stated = json.loads(beside.read_text(encoding="utf-8"))
        return {
            name: [by_file.get(str(entry), str(entry)) for entry in stated[name]]
            for name in SPLITS
            if name in stated
        }, beside
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f'"{beside}" has no lists "train", "val" and "test" of images or patients; correct or'
            " remove it."
        ) from error
