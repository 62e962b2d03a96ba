"""Whether every file below a folder can be read whole, and what killed programs left there."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from MedLLMSegLib.core.safe_files import OUTDATED_S, TEMPORARY
from MedLLMSegLib.io.volume_files import load_volume


def damaged_files(folder: Path) -> list[str]:
    """One line for each file that cannot be read whole; temporary ones are left out, as they are
    by the programs that read folders.
    """
    faults = []
    for path in sorted(folder.rglob("*")):
        inside_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_dir() or inside_hidden:
            continue
        try:
            _read_whole(path)
        except Exception as error:  # of any reader
            faults.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return faults


def temporary_files(folder: Path) -> list[str]:
    """What a killed program left behind: hidden files and folders."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".*"))


def age(folder: Path) -> None:
    """Let some hours pass for what killed programs left in a folder."""
    for path in list(folder.rglob(f"{TEMPORARY}*")):
        for each in (*path.rglob("*"), path):
            changed = each.stat().st_mtime - 3 * OUTDATED_S
            os.utime(each, (changed, changed))


def _read_whole(path: Path) -> None:
    name = path.name.lower()
    if name.endswith((".nii.gz", ".nrrd")):
        load_volume(path)
    elif name.endswith(".json"):
        json.loads(path.read_text(encoding="utf-8"))
    elif name.endswith(".csv"):
        _read_table(path)
    elif name.endswith(".pt"):
        torch.load(path, weights_only=True)
    elif name.endswith(".safetensors"):
        load_file(path)
    elif name.endswith(".npy"):
        np.load(path, allow_pickle=False)
    elif name.endswith(".png"):
        Image.open(path).load()
    elif name.endswith(".html") and not path.read_text(encoding="utf-8").endswith("</html>\n"):
        raise ValueError("no end")


def _read_table(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))
    if not text.endswith("\n") or len({len(row) for row in rows}) != 1:
        raise ValueError("no whole table")
