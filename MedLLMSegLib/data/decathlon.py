"""Cases in the Decathlon's layout: imagesTr, labelsTr, dataset.json and splits.json."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.io.itk_images import scan_suffix
from MedLLMSegLib.io.volume_files import scan_name

from .case import SPLITS, Case, expand_groups, group_of

CHANNEL_LENGTH = len("_0000")  # what nnU-Net adds to the name of an image


def choose_cases(folder: Path, cases: PathLike | Sequence[str] | None = None) -> list[str]:
    """The ids of the cases to measure: those named, else the "test" split, else all with labels.

    cases: a text file with one id a line, or a list of ids.
    """
    check_layout(folder)
    if cases is not None:
        source, ids = "the list of cases", listed_ids(cases)
    elif (folder / "splits.json").is_file():
        source, ids = f'"{folder / "splits.json"}"', split_ids(folder, "test")
    else:
        source, ids = f'"{folder / "labelsTr"}"', labelled_ids(folder)
    if not ids:
        raise UserError(f"There is no case in {source}; name at least one.")
    return list(dict.fromkeys(ids))


def check_layout(folder: Path) -> None:
    """Raise `UserError` unless the folder has imagesTr and labelsTr."""
    for part in ("imagesTr", "labelsTr"):
        if not (folder / part).is_dir():
            raise UserError(
                f'The data folder "{folder}" has no folder {part}; put images into imagesTr and'
                " label maps of the same names into labelsTr."
            )


def listed_ids(cases: PathLike | Sequence[str]) -> list[str]:
    """The case ids of a list, or of a text file with one on each line."""
    if not isinstance(cases, (str, os.PathLike)):
        return list(cases)
    try:
        lines = Path(cases).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'The list of cases "{cases}" could not be read; give a text file with one case id a '
            "line."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def labelled_ids(folder: Path) -> list[str]:
    """The ids of all cases that have a label map, sorted."""
    return sorted(scan_name(p) for p in (folder / "labelsTr").iterdir() if _is_scan(p))


def split_ids(folder: PathLike, split: str) -> list[str]:
    """The case ids of one split ("train", "val", "test") of a folder's splits.json.

    The file may list groups instead.
    """
    path = Path(folder) / "splits.json"
    try:
        entries = [str(entry) for entry in json.loads(path.read_text(encoding="utf-8"))[split]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'"{path}" has no list "{split}"; add it, or name the cases in a file of your own.'
        ) from error
    known = labelled_ids(Path(folder)) if (Path(folder) / "labelsTr").is_dir() else []
    return expand_groups(entries, {case: group_of(case) for case in known})


def _is_scan(path: Path) -> bool:
    return path.is_file() and scan_suffix(path) is not None and not path.name.startswith(".")


def file_of(folder: Path, case: str) -> Path:
    """The scan file of a case, whatever its format. Raises `UserError` for none or several."""
    files = images_of(folder, case)
    if len(files) == 1:
        return files[0]
    raise UserError(
        f'The case "{case}" has {len(files)} images in "{folder}" '
        f"({', '.join(path.name for path in files)}), and one is needed; keep the channel"
        " that is to be segmented."
    )


def images_of(folder: Path, case: str) -> tuple[Path, ...]:
    """The images of a case; in nnU-Net's folders CASE_0000.nii.gz, CASE_0001.nii.gz and so on,
    where the number is that of the channel. Raises `UserError` for none.
    """
    for path in sorted(folder.glob(f"{glob.escape(case)}.*")):
        if _is_scan(path) and scan_name(path) == case:
            return (path,)
    channels = [
        path
        for path in sorted(folder.glob(f"{glob.escape(case)}_[0-9][0-9][0-9][0-9].*"))
        if _is_scan(path) and scan_name(path)[:-CHANNEL_LENGTH] == case
    ]
    if channels:
        return tuple(channels)
    raise UserError(
        f'The case "{case}" has no file in "{folder}"; correct the list of cases or add the file.'
    )


def decathlon_cases(folder: Path) -> list[Case]:
    """All labelled cases of a folder; `UserError` where a label map has no image."""
    check_layout(folder)
    return [decathlon_case(folder, case_id) for case_id in labelled_ids(folder)]


def decathlon_case(folder: Path, case_id: str) -> Case:
    """One case with all its images. Raises `UserError` where one of its files is missing."""
    image, *channels = images_of(folder / "imagesTr", case_id)
    label = file_of(folder / "labelsTr", case_id)
    return Case(case_id, image, label, group_of(case_id), tuple(channels))


def stated_channels(folder: Path) -> tuple[str, ...]:
    """The names of the images of a case in dataset.json, in order; () where it states none.

    Both forms are read: the Decathlon's "modality" and nnU-Net's "channel_names".
    """
    path = folder / "dataset.json"
    content = _json(path) if path.is_file() else {}
    stated = content.get("channel_names") or content.get("modality") or {}
    try:
        return tuple(str(stated[key]) for key in sorted(stated, key=int))
    except (TypeError, ValueError) as error:
        raise UserError(
            f'The entry "channel_names" of "{path}" is not of the form {{"0": "CT", "1": "PET"}};'
            " correct it."
        ) from error


def stated_splits(folder: Path) -> dict[str, list[str]] | None:
    """Those of the lists "train", "val" and "test" that splits.json has; None without the file."""
    path = folder / "splits.json"
    if not path.is_file():
        return None
    content = _json(path)
    splits = {name: content[name] for name in SPLITS if name in content}
    lists = [name for name, entries in content.items() if isinstance(entries, list)]
    unknown = [name for name in lists if name not in SPLITS]
    if unknown and splits:
        raise UserError(
            f'"{path}" has the list "{unknown[0]}", and "train", "val" or "test" is needed; correct'
            " its name, or remove it."
        )
    if not splits or not all(isinstance(entries, list) for entries in splits.values()):
        raise UserError(
            f'"{path}" has no lists "train", "val" and "test" of case ids; add them, or remove the'
            " file to have the cases split at random."
        )
    return splits


def stated_labels(folder: Path) -> dict[int, str] | None:
    """Label value -> name from dataset.json, without the background; None if it states none.

    Both forms are read: the Decathlon's {"1": "Anterior"} and nnU-Net's {"Anterior": 1}.
    """
    path = folder / "dataset.json"
    stated = _json(path).get("labels") if path.is_file() else None
    if stated is None:
        return None
    try:
        pairs = [
            (int(a), str(b)) if str(a).isdigit() else (int(b), str(a)) for a, b in stated.items()
        ]
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'The entry "labels" of "{path}" is not of the form {{"0": "background", "1": "name"}};'
            " correct it."
        ) from error
    return {value: name for value, name in pairs if value}


def _json(path: Path) -> Json:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f'"{path}" could not be read as JSON; correct it, or remove it.') from error
    if not isinstance(content, dict):
        raise UserError(f'"{path}" holds no JSON object ({{...}}); correct it, or remove it.')
    return content
