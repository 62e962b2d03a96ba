"""The packages of the extra [train], for those who installed without it."""

from __future__ import annotations

from importlib.util import find_spec

from MedLLMSegLib.core.errors import UserError


def require_for_training(package: str) -> None:
    """Raise `UserError` where a package is missing; nothing is imported."""
    if find_spec(package) is None:
        raise UserError(
            f"Training needs the package {package}, which is not installed; run"
            ' `pip install "medllmseg[train]"`.'
        )
