"""Import a package that is needed for some encoders only."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from MedLLMSegLib.core.errors import UserError


def optional_package(name: str) -> ModuleType:
    """The imported package. Raises `UserError` that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"Reading this encoder needs the package {name}; install it with 'pip install {name}'."
        ) from error
    except RuntimeError as error:  # timm's torchvision was built for another torch
        raise UserError(
            f"The package {name} is installed and cannot be loaded ({str(error).splitlines()[0]});"
            " reinstall torch and torchvision together, for the same kind of computer."
        ) from error
