"""Bundles that an older version of this library wrote (no torch)."""

from __future__ import annotations

import re
from pathlib import Path

from MedLLMSegLib.core.types import PathLike

from .catalogue import INFERENCE, ModelEntry

# Modules that configs/inference.json of version 0.3 names. `MedLLMSegLib/__init__.py` still finds
# them, so that MONAI's runner can run such a bundle.
MODULES_OF_0_3 = ("monai_runner", "monai_classifier")
_NAMED_IN_0_3 = re.compile(rf"\bMedLLMSegLib\.(?:{'|'.join(MODULES_OF_0_3)})\b")


def names_modules_of_0_3(folder: PathLike) -> bool:
    """Whether a bundle's configs/inference.json names modules by their names in version 0.3.

    The file is searched as text and never evaluated. A bundle without the file, or with one that
    is no text, names none.
    """
    try:
        text = (Path(folder) / INFERENCE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return _NAMED_IN_0_3.search(text) is not None


def old_bundle_note(entry: ModelEntry) -> str:
    """One sentence for the user about a model whose MONAI configuration is of version 0.3; "" for
    any other model.
    """
    if not names_modules_of_0_3(entry.folder):
        return ""
    return (
        f'the MONAI configuration of "{entry.id}" is of version 0.3;'
        f' `medllmseg bundle "{entry.folder}"` writes it anew'
    )
