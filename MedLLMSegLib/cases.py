"""Labelled cases in folders of the Decathlon's layout: imagesTr, labelsTr, and maybe splits.json."""
from __future__ import annotations

import glob
import json
from pathlib import Path

from .errors import UserError
from .files import scan_name
from .images import scan_suffix


def choose_cases(folder: Path, cases=None) -> list[str]:
    """Which cases to measure: those named, else the "test" list of splits.json, else all that have labels."""
    for part in ("imagesTr", "labelsTr"):
        if not (folder / part).is_dir():
            raise UserError(f'The data folder "{folder}" has no folder {part}; images belong into imagesTr and label '
                            "maps of the same names into labelsTr.")
    if cases is not None:
        source, found = "the list of cases", _listed(cases)
    elif (folder / "splits.json").is_file():
        source, found = f'"{folder / "splits.json"}"', split_ids(folder, "test")
    else:
        source = f'"{folder / "labelsTr"}"'
        found = sorted(scan_name(p) for p in (folder / "labelsTr").iterdir() if _is_scan(p))
    if not found:
        raise UserError(f"There is no case in {source}; name at least one.")
    return list(dict.fromkeys(found))


def _listed(cases) -> list[str]:
    if not isinstance(cases, (str, Path)):
        return list(cases)
    try:
        lines = Path(cases).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'The list of cases "{cases}" could not be read; give a text file with one case id a '
                        "line.") from error
    return [line.strip() for line in lines if line.strip()]


def split_ids(folder, split: str) -> list[str]:
    """The case ids of one split ("train", "val", "test") of a folder's splits.json."""
    path = Path(folder) / "splits.json"
    try:
        return [str(case) for case in json.loads(path.read_text(encoding="utf-8"))[split]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'"{path}" has no list "{split}"; add it, or name the cases in a file of your own.') from error


def _is_scan(path: Path) -> bool:
    return path.is_file() and scan_suffix(path) is not None and not path.name.startswith(".")


def file_of(folder: Path, case: str) -> Path:
    """The scan file of a case, whatever its format."""
    for path in sorted(folder.glob(f"{glob.escape(case)}.*")):
        if _is_scan(path) and scan_name(path) == case:
            return path
    raise UserError(f'The case "{case}" has no file in "{folder}"; correct the list of cases or add the file.')
