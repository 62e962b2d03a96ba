"""Files of the user's own cache that two tests need and no test may make."""

import os
import warnings
from pathlib import Path

import pytest

VARIABLE = "MEDLLMSEG_TEST_CACHE"


def fetched_file(place: str, command: str) -> Path:
    """A file that ``command`` fetched, at ``place`` below the folder that MEDLLMSEG_TEST_CACHE
    names. Where there is none the test is skipped, loudly.
    """
    folder = os.environ.get(VARIABLE)
    path = Path(folder or f"${VARIABLE}") / place
    if not (folder and path.is_file()):
        text = (
            f"NOT TESTED: {path} is missing; run '{command}' and set {VARIABLE} to the cache folder"
        )
        warnings.warn(text, stacklevel=2)
        pytest.skip(text)
    return path
