"""Checks of files by their sha256. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError


@dataclass(frozen=True)
class FileCheck:
    """The result of checking one file. detail: its sha256 if it is valid, else what is wrong."""

    path: Path
    valid: bool
    detail: str


def check_file(path: Path, check: Callable[[], str]) -> FileCheck:
    """Run a check that returns a detail, or raises `UserError` for an invalid file."""
    try:
        return FileCheck(path, True, check())
    except UserError as error:
        return FileCheck(path, False, str(error))


def sha256_file_check(path: Path, expected: str) -> FileCheck:
    """Check that a file has the expected sha256."""
    return check_file(path, lambda: check_sha256(path, expected))


def check_sha256(path: Path, expected: str) -> str:
    """Check that a file has the expected sha256, and return it as a text for the user.

    Raises `UserError` if it has another one or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"The file {path} cannot be read ({error.strerror}); reinstall MedLLMSeg, or fetch the"
            " file again if it is in the cache."
        ) from error
    if actual != expected:
        raise UserError(
            f"{path} has sha256 {actual} where {expected} is needed: it was changed or cut short;"
            " delete it, then reinstall MedLLMSeg or fetch the file again."
        )
    return f"sha256 {actual}"
