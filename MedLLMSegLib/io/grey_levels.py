"""From the values of a flat image to what a reader sees, with the checks that it is an image."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.core.windowing import Lut, Window, percentile_window

MIN_SIDE = 32  # pixels: an icon or a strip is no radiograph
MIN_CONTRAST = 0.01  # of the range from black to white

GreyMapping: TypeAlias = Window | Lut


def choose_window(
    windows: tuple[GreyMapping, ...], number: int | None, path: Path
) -> tuple[GreyMapping | None, tuple[str, ...]]:
    """The window with a number (from 1), or the first, and notes for the user.

    None if there are no windows.
    """
    if number is not None and not 1 <= number <= len(windows):
        available = f"has {len(windows)} ({_window_list(windows)})" if windows else "has none"
        raise UserError(
            f'Window {number} was asked for, and "{path}" {available}; choose one of these or leave'
            " the window out."
        )
    if not windows:
        return None, ()
    used = number or 1
    window = windows[used - 1]
    if len(windows) == 1:
        return window, ()
    note = f"The file has {len(windows)} windows ({_window_list(windows)}); number {used} was used."
    return window, (note,)


def _window_list(windows: tuple[GreyMapping, ...]) -> str:
    return "; ".join(f"{n}: {window}" for n, window in enumerate(windows, start=1))


def grey_levels(
    volume: Volume,
    window: GreyMapping | None,
    inverted: bool,
    padding: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(rows, columns) from 0 (black) to 1 (white) of a volume of one slice, and notes.

    window: None for one from percentiles. inverted: whether the lowest value is white. padding:
    bool (rows, columns) of pixels without image. Raises `UserError` for a useless image.
    """
    flat = _flat(volume.array)
    _check_flat(flat, volume.name)
    notes: tuple[str, ...] = ()
    if window is None:
        window = percentile_window(flat if padding is None else flat[~padding])
        low, high = window.center - window.width / 2, window.center + window.width / 2
        notes = (
            "The image names no window for its grey values; the range from the 0.5th to the"
            f" 99.5th percentile ({low:g} to {high:g}) was used.",
        )
    shown = window(flat)
    if inverted:
        shown = 1 - shown
    if padding is not None:
        shown = np.where(padding, np.float32(0), shown)
    if shown.max() - shown.min() < MIN_CONTRAST:
        raise UserError(
            f'"{volume.name}" shows nothing in its window ({window}): every pixel is black or'
            " white; choose another window, or correct it in the file."
        )
    return np.ascontiguousarray(shown, np.float32), notes


def _flat(array: Array) -> Array:
    """The (rows, columns) of a volume of one slice along any axis."""
    long_axes = [n for n in array.shape if n > 1]
    return array.reshape(long_axes if len(long_axes) == 2 else array.shape[-2:])


def _check_flat(flat: Array, name: str) -> None:
    """Raise `UserError` unless an image is large enough, finite and grey."""
    rows, columns = flat.shape
    if min(rows, columns) < MIN_SIDE:
        raise UserError(
            f'"{name}" has {columns} x {rows} pixels, and at least {MIN_SIDE} x {MIN_SIDE} are'
            " needed; choose the image itself, not its icon."
        )
    # NaN and infinity survive min or max.
    low, high = float(flat.min()), float(flat.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(
            f'"{name}" has {int((~np.isfinite(flat)).sum())} pixels that are not a number or'
            " infinite; replace them (for example by 0) and try again."
        )
    if low == high:
        raise UserError(
            f'"{name}" has the same value ({low:g}) in every pixel, so there is nothing to see; '
            "check that the right file was chosen."
        )
    some_rows = flat[:: max(1, rows // 256)]
    if len(np.unique(some_rows)) <= 2:
        raise UserError(
            f'"{name}" has two grey values only (a mask, or 1 bit deep), and a grey image is'
            " needed; export the X-ray itself."
        )
