"""An X-ray as other hands pass it on: made smaller, squashed to a square, and saved as JPEG.

How an image was stored says nothing of what it shows. So a reference of a domain is fitted on such
images as well, and they are the control that no detector of JPEG was built.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array


@dataclass(frozen=True)
class Reencoding:
    """side: of the square in pixels. quality: of the JPEG, 1 to 95. aspect: width over height of
    the part of the image that is squashed into the square: above 1 rows are cut off above and
    below, under 1 columns.
    """

    side: int = 224
    quality: int = 75
    aspect: float = 1.0

    def of(self, grey: Array) -> NDArray[np.float32]:
        """An image (rows, columns) from 0 to 1 -> (side, side) from 0 to 1.

        Raises `UserError` without the package pillow.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise UserError(
                "Images are saved as JPEG by the package pillow, which is not installed; run `pip"
                ' install "medllmseg[classify]"`.'
            ) from error
        part = np.rint(255 * _middle(grey, self.aspect)).clip(0, 255).astype(np.uint8)
        squashed = Image.fromarray(part).resize((self.side, self.side), Image.Resampling.BILINEAR)
        data = io.BytesIO()
        squashed.save(data, "JPEG", quality=self.quality)
        levels = np.asarray(Image.open(data), np.float32)
        return levels / np.float32(255)


def _middle(grey: Array, aspect: float) -> Array:
    """The largest part around the centre with ``aspect`` times the whole's width over height."""
    rows, columns = grey.shape
    kept_rows = max(1, round(rows / max(aspect, 1.0)))
    kept_columns = max(1, round(columns * min(aspect, 1.0)))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return grey[top : top + kept_rows, left : left + kept_columns]


def drawn(rng: np.random.Generator) -> Reencoding:
    """Any size and quality in use, and any aspect between 4:5 and 7:5."""
    return Reencoding(
        side=int(rng.integers(180, 321)),
        quality=int(rng.integers(40, 96)),
        aspect=float(np.exp(rng.uniform(-0.22, 0.34))),
    )


AS_CHILDREN = Reencoding()  # 224 pixels and JPEG, as `cxr_children` was stored by another hand
