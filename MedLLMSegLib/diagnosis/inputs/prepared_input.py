"""What a classifier is given, and how its maps get back onto the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from MedLLMSegLib.core.display_orientation import AS_STORED, DisplayOrientation
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.radiograph import Radiograph

# One image: a file's path, or an image in memory.
ImageSource: TypeAlias = str | Path | Volume | Radiograph
# One image, or several in order: of several channels None is a missing one.
ImageSources: TypeAlias = ImageSource | Sequence[ImageSource | None]
# A lung mask: a file's path, a volume, or bool (rows, columns).
MaskSource: TypeAlias = "str | Path | Volume | Array"


@dataclass(frozen=True, eq=False)
class PreparedInput:
    """A batch of one, and the way back from its maps.

    batch: on the CPU. volume: the image's grid. shown: (rows, columns) from 0 to 1, for a picture.
    to_volume: maps (N, h, w) of the images that went through the encoder -> an array on the grid.
    shown_slice: the slice of the volume that is shown. orientation: from its stored rows and
    columns to those shown.
    """

    batch: dict[str, Tensor]
    volume: Volume
    shown: NDArray[np.float32]
    to_volume: Callable[[Array], Array]
    notes: tuple[str, ...] = ()
    shown_slice: int = 0
    orientation: DisplayOrientation = AS_STORED


def as_list(image: ImageSources) -> list[ImageSource | None]:
    """One image, or several in order, as a list."""
    if isinstance(image, Sequence) and not isinstance(image, str):
        return list(image)
    return [image]
