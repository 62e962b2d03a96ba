"""What a kind of file is to the torture: how it is damaged, and how the library reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    write: (rng, folder) -> the path to be read; writes damaged files into the folder.
    read: reads that path with the library; returns, or raises what the library raised.
    writes_into: names of folders beside the input's in which reading may leave files.
    """

    name: str
    write: Callable[[Random, Path], Path]
    read: Callable[[Path], object]
    writes_into: tuple[str, ...] = ()
