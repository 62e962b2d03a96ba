"""Folders of ours on this computer: the cache of fetched files and the user's own models."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """The folder for fetched files: $MEDLLMSEG_CACHE, or medllmseg in the user's cache folder.

    The folder is not created here.
    """
    if chosen := os.environ.get("MEDLLMSEG_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "medllmseg"


def exports_dir() -> Path:
    """The folder for networks as graphs of other engines, made when one is first used. Not created
    here.
    """
    return cache_dir() / "exports"


def user_models_dir() -> Path:
    """The folder for the user's own bundles, one folder each. Not created here."""
    return cache_dir() / "models"
