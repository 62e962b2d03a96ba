"""Types that several rooms name in their signatures. Importing this module needs no numpy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The content of a JSON object, such as a bundle's metadata.
Json: TypeAlias = dict[str, Any]
# A file or folder, as a path or as text.
PathLike: TypeAlias = str | os.PathLike[str]
# An array whose number type is not fixed.
Array: TypeAlias = "NDArray[Any]"
# Numbers along the axes (k, j, i) of a volume: voxels, tokens or strides.
Triple: TypeAlias = tuple[int, int, int]
