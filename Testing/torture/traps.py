"""Readers with one fault each, to see that the torture notices it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from random import Random

import numpy as np

from MedLLMSegLib.core.errors import UserError

from .kind import Kind


def _write(rng: Random, folder: Path) -> Path:
    path = folder / "a"
    path.write_bytes(rng.randbytes(9))
    return path


def _crash(path: Path) -> object:
    return ctypes.string_at(0)


def _hang(path: Path) -> object:
    while True:
        pass


def _memory(path: Path) -> object:
    return np.ones(3 << 28)  # 6 GB


def _stray(path: Path) -> object:
    return (path.parents[1] / "evil").write_bytes(b"evil")


def _traceback(path: Path) -> object:
    raise KeyError("a")


def _wording(path: Path) -> object:
    raise UserError("no sentence")


def _sentence(path: Path) -> object:
    raise UserError(f'"{path}" is no file; take another.')


KINDS = tuple(
    Kind(f"trap-{name}", _write, read)
    for name, read in (
        ("crash", _crash), ("hang", _hang), ("memory", _memory), ("stray-file", _stray),
        ("traceback", _traceback), ("wording", _wording), ("sentence", _sentence),
    )
)  # fmt: skip
