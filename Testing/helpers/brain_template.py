"""The MNI template of a head's T1, which comes with nilearn."""

import importlib.util
from pathlib import Path


def template_path() -> Path:
    """Its NIfTI file."""
    folder = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets/data"
    return next(folder.glob("mni_icbm152_t1_*.nii.gz"))
