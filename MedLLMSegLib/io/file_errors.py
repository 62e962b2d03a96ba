"""The errors that the readers of several formats share."""

from __future__ import annotations

import os
from pathlib import Path

from MedLLMSegLib.core.errors import UserError


def unreadable(path: Path, error: OSError) -> UserError:
    """The error for a file that the system does not let us read."""
    return UserError(
        f'"{path}" may not be read ({error.strerror}); check the file and its permissions.'
    )


def check_link(path: Path) -> None:
    """Raise `UserError` for a link that leads to nothing."""
    if os.path.islink(path) and not os.path.exists(path):
        raise UserError(
            f'"{path}" is a link to "{os.readlink(path)}", which does not exist; correct the link,'
            " or copy the file itself."
        )


def wrong_content(path: Path, format_name: str) -> UserError:
    """The error for a file whose content is not of the format that its name says."""
    return UserError(
        f'"{path}" is named like a {format_name} file, but its content is something else or'
        " damaged; check that it is the right file, or export it again."
    )


def cut_short(path: Path, present: int, needed: int) -> UserError:
    """The error for a file that ends before its voxels do. present, needed: in bytes."""
    return UserError(
        f'"{path}" is cut short: it holds {present} of {needed} bytes; copy or download it again.'
    )


def damaged_packing(path: Path) -> UserError:
    """The error for compressed data that end too early or are not what was compressed."""
    return UserError(
        f'"{path}" is cut short or damaged (its compressed data ends too early or does not'
        " match its checksum); copy or download it again."
    )
