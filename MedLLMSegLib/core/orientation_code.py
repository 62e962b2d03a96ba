"""Orientations as three letters, such as RAS: where the axes i, j and k of an array point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import UserError
from .types import Array

# Letter -> (axis of RAS, sign)
_LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def check_code(code: str) -> str:
    """The code in capitals. Raises `UserError` unless it names each direction once."""
    upper = code.upper()
    axes = sorted(_LETTERS[letter][0] for letter in upper if letter in _LETTERS)
    if len(upper) != 3 or axes != [0, 1, 2]:
        raise UserError(
            f'"{code}" is not an orientation; give three letters that say where columns, rows and'
            " slices lead, one each of R or L, A or P, S or I, such as RAS."
        )
    return upper


def code_directions(code: str) -> Array:
    """(3, 3) whose columns are the unit vectors of i, j and k in RAS."""
    directions = np.zeros((3, 3))
    for column, letter in enumerate(check_code(code)):
        axis, sign = _LETTERS[letter]
        directions[axis, column] = sign
    return directions


def code_matrix(code: str, spacing_mm: Sequence[float]) -> Array:
    """(4, 4) from voxels to RAS mm, with the first voxel at the origin.

    spacing_mm: along i, j and k.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = code_directions(code) * np.abs(spacing_mm)
    return matrix


def nearest_code(ijk_to_ras: Array) -> str:
    """The code that is nearest to the axes of a grid."""
    steps = np.asarray(ijk_to_ras, float)[:3, :3]
    steps = steps / np.linalg.norm(steps, axis=0)
    likeness = {code: float((code_directions(code) * steps).sum()) for code in _all_codes()}
    return max(likeness, key=lambda code: likeness[code])


def _all_codes() -> list[str]:
    pairs = ("RL", "AP", "SI")
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return [
        "".join(pairs[axis][flips >> n & 1] for n, axis in enumerate(order))
        for order in orders
        for flips in range(8)
    ]


def not_stated(subject: str) -> UserError:
    """The error for a file that does not say where left and right are. subject: begins it."""
    return UserError(
        f"{subject} does not state its orientation, so that left and right cannot be told apart; if"
        " you know where its columns, rows and slices lead, write it into the file, or let"
        " `medllmseg segment` assume it, for example with --assume-orientation RAS."
    )


def assumed_note(code: str) -> str:
    """The note on a scan whose orientation is not its own."""
    return f"The file does not state its orientation; {code} was assumed, as asked for."
