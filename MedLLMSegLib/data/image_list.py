"""Flat images of a folder or table, whether or not they are labelled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.io.dicom.sort import is_dicom
from MedLLMSegLib.io.itk_images import scan_suffix
from MedLLMSegLib.io.pictures import is_picture

from .csv_file import CsvTable, read_csv
from .image_table import ALIASES, TABLE


@dataclass(frozen=True)
class ListedImage:
    """One image. group: its patient, or its own id where nobody is named. columns: of its row in
    the table, as text; empty without a table.
    """

    id: str
    path: Path
    group: str
    columns: Mapping[str, str] = field(default_factory=dict)


def list_images(source: PathLike, split: str | None = None) -> tuple[ListedImage, ...]:
    """The images of a table (a CSV file, or a folder with labels.csv), or all those in a folder.

    split: only those of this split, by the table's column "split" or by the splits.json beside it,
    whatever its name is; None for all. Raises `UserError` where there is no image.
    """
    source = Path(source).expanduser()
    table = source / TABLE if source.is_dir() else source
    if table.is_file():
        images = _of_table(table)
        images = images if split is None else _of_split(images, table, split)
    elif source.is_dir():
        if split is not None:
            raise UserError(
                f'"{source}" has no {TABLE} that could state a split "{split}"; leave the split'
                " out, or add the table."
            )
        files = sorted(path for path in source.iterdir() if _is_image(path))
        images = tuple(ListedImage(path.name, path, path.name) for path in files)
    else:
        raise UserError(f'There is no folder or table "{source}"; check the path.')
    if not images:
        which = f' in its split "{split}"' if split else ""
        raise UserError(f'"{source}" holds no image{which}; choose another folder or split.')
    return images


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and not hidden and (is_picture(path) or _is_flat_file(path))


def _is_flat_file(path: Path) -> bool:
    return bool(scan_suffix(path)) or is_dicom(path)


def _of_table(table: Path) -> tuple[ListedImage, ...]:
    content = read_csv(table)
    place = {name: _column(content, aliases) for name, aliases in ALIASES.items()}
    at = place["image"]
    if at is None:
        raise UserError(
            f'The table "{table}" has no column "image" in its first row; begin it with the'
            " headings image,patient (and class or split where you want them)."
        )
    images = []
    for row in content.rows:
        name = row.cells[at]
        path = _file(table, name)
        if not name or path is None:
            raise UserError(
                f'Row {row.number} of "{table}" names the image "{name}", and there is no such'
                " file; correct the path."
            )
        stated = {
            name: "" if column is None else row.cells[column] for name, column in place.items()
        }
        columns = dict(zip(content.columns, row.cells, strict=False))
        identity = stated["id"] or name
        images.append(ListedImage(identity, path, stated["group"] or identity, columns))
    return tuple(images)


def _column(content: CsvTable, aliases: tuple[str, ...]) -> int | None:
    return next((content.columns.index(each) for each in aliases if each in content.columns), None)


def _file(table: Path, name: str) -> Path | None:
    """The file that a cell names, from the table's folder or its subfolder "images"."""
    written = Path(name).expanduser()
    places = (table.parent / written, table.parent / "images" / written)
    return next((place for place in places if os.path.isfile(place)), None)


def _of_split(images: tuple[ListedImage, ...], table: Path, split: str) -> tuple[ListedImage, ...]:
    if any("split" in image.columns for image in images):
        return tuple(image for image in images if image.columns.get("split") == split)
    stated = table.parent / "splits.json"
    try:
        wanted = set(map(str, json.loads(stated.read_text(encoding="utf-8"))[split]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'"{table}" states no split "{split}", in a column "split" or in a splits.json beside'
            " it; leave the split out, or add it."
        ) from error
    return tuple(image for image in images if wanted & {image.id, image.path.name, image.group})
