"""The file of a bundle that its model's domain is told by, and whether it is the one that was
stored (no torch, no numpy).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, PathLike

from .measured_model import MeasuredModel
from .own_figures import OWNER

DOMAIN_FILE = "models/domain.safetensors"
FIELD = "domain"  # of the metadata


def read_domain_file(folder: PathLike, metadata: Json, model: MeasuredModel) -> bytes | None:
    """The file's content; None where a bundle has no reference, or one of another measured model.

    Raises `UserError` for a file that is missing or is not the one that was stored.
    """
    stored = metadata.get(FIELD)
    if not isinstance(stored, dict) or stored.get(OWNER) != model.sha256:
        return None
    try:
        data = (Path(folder) / DOMAIN_FILE).read_bytes()
    except OSError as error:
        raise UserError(
            f'The model bundle "{folder}" has no readable {DOMAIN_FILE}; install it again.'
        ) from error
    if hashlib.sha256(data).hexdigest() != stored.get("sha256"):
        raise UserError(
            f'The file {DOMAIN_FILE} of the model bundle "{folder}" is not the one that belongs to'
            " the model; install it again."
        )
    return data
