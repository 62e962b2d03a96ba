"""A bundle: a folder in the MONAI Bundle layout, read as metadata and verified tensors.

    configs/metadata.json      the model, its training, measured results, licence, sha256 of weights
    configs/inference.json     for MONAI's own runner (see monai_inference.py); never evaluated here
    models/model.safetensors   the trained tensors as fp16, without the frozen language model's
    docs/README.md             the model card
    LICENSE                    the licence of the weights

Reading is strict: a missing file, a wrong sha256 or a tensor of another shape is an error, never a
warning.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as serialise_tensors

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.folder_exchange import exchange_folders
from MedLLMSegLib.core.safe_files import (
    make_folder,
    remove_leftovers,
    temporary_path,
    write_error,
    write_text,
)
from MedLLMSegLib.core.types import Json, PathLike

from .catalogue import CARD, INFERENCE, LICENCE, METADATA, WEIGHTS, measured_model, read_metadata
from .measured_model import MeasuredModel

Tensors: TypeAlias = dict[str, torch.Tensor]  # by name, as in a network's state_dict


@dataclass(frozen=True)
class Bundle:
    """A bundle read into memory. tensors: by name, as float32."""

    folder: Path
    metadata: Json
    tensors: Tensors

    @cached_property
    def measured(self) -> MeasuredModel:
        """What it answers with, under one hash. Raises `UserError` without its localizer."""
        return measured_model(self.metadata)


def read_bundle(folder: PathLike) -> Bundle:
    """Read and verify a bundle. Raises `UserError` when it is missing, damaged or changed."""
    folder = Path(folder)
    metadata = read_metadata(folder)
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise UserError(
            f'The model bundle "{folder}" has no readable {WEIGHTS}; install it again.'
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != metadata["weights_sha256"]:
        raise UserError(
            f'The weights of the model bundle "{folder}" are not the ones it was published with '
            f"(sha256 {sha256[:12]}, expected {str(metadata['weights_sha256'])[:12]}); install it"
            " again."
        )
    try:
        tensors = {name: tensor.float() for name, tensor in load_tensors(data).items()}
    except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise UserError(
            f'The weights of the model bundle "{folder}" are no readable safetensors file; install'
            " it again."
        ) from error
    return Bundle(folder, metadata, tensors)


def write_bundle(
    folder: PathLike,
    metadata: Json,
    tensors: Tensors,
    card: str,
    licence: str,
    inference: Json | None = None,
) -> Path:
    """Write a complete bundle or nothing; a bundle in the same place is replaced.

    tensors: trained tensors of any float type, stored as fp16. card, licence: the texts of the
    model card and LICENSE. inference: for MONAI's own runner (`monai_inference.inference_config`);
    None for a model that it cannot run.
    """
    folder = Path(folder)
    check_bundle_folder(folder)
    make_folder(folder.parent)
    weights = _serialise(tensors)
    metadata = {**metadata, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    texts = {CARD: card, LICENCE: licence, METADATA: _json_text(metadata)}
    if inference:
        texts[INFERENCE] = _json_text(inference)
    files = {WEIGHTS: weights, **{name: text.encode("utf-8") for name, text in texts.items()}}
    scratch = temporary_path(folder.parent)
    try:
        scratch.mkdir(mode=0o700)
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        os.chmod(scratch, 0o755)
        _put_in_place(scratch, folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    remove_leftovers(folder.parent)  # of exports that were killed
    return folder


def check_bundle_folder(folder: Path) -> None:
    """Raise `UserError` where the folder holds something other than a bundle."""
    is_bundle = (folder / METADATA).is_file()
    is_empty_folder = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_bundle and not is_empty_folder:
        raise UserError(f'"{folder}" exists and is not a model bundle; choose a new folder.')


def _put_in_place(new: Path, folder: Path) -> None:
    """Move a complete bundle to its place; the old one is deleted after that.

    On Linux the two change places in one step. Elsewhere there is a moment between two renamings
    in which there is none, which Ctrl-C does not reach: only a kill does.
    """
    if exchange_folders(new, folder):
        shutil.rmtree(new, ignore_errors=True)  # the old one, by now
        return
    old = new.with_name(new.name + "-old")
    try:
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    except BaseException:  # Ctrl-C between the two must not leave the user without a bundle either
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def rewrite_texts(
    folder: PathLike,
    metadata: Json,
    card: str | None = None,
    licence: str | None = None,
    inference: Json | None = None,
) -> Path:
    """Replace the texts of a bundle, each file atomically. The weights stay untouched, and so does
    a text that is None.

    metadata: in full, with the "weights_sha256" of these weights.
    """
    folder = Path(folder)
    texts = {
        INFERENCE: _json_text(inference) if inference else None,
        CARD: card,
        LICENCE: licence,
        METADATA: _json_text(metadata),
    }
    for name, text in texts.items():
        if text is not None:
            write_text(folder / name, text)
    return folder


def _json_text(content: Json) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _serialise(tensors: Tensors) -> bytes:
    """The tensors as a safetensors file: fp16, sorted by name."""
    stored = {
        name: tensor.detach().cpu().to(torch.float16).contiguous()
        for name, tensor in sorted(tensors.items())
    }
    return serialise_tensors(stored)


def weights_sha256(tensors: Tensors) -> str:
    """The sha256 of the weights file that a bundle of these tensors has."""
    return hashlib.sha256(_serialise(tensors)).hexdigest()


def as_stored(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as a bundle gives them back: rounded to fp16, each in the type that it had."""
    return {name: tensor.to(torch.float16).to(tensor.dtype) for name, tensor in tensors.items()}


def load_strictly(
    network: torch.nn.Module, tensors: Tensors, frozen_prefix: str | None = None
) -> None:
    """Fill a network's trained tensors. `UserError` unless names and shapes agree exactly.

    frozen_prefix: the names of the frozen language model's tensors begin with it. They are read
    from that model's own file, and are left out here.
    """
    trained = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not (frozen_prefix and name.startswith(frozen_prefix))
    }
    wrong = sorted(set(trained) ^ set(tensors))
    if not wrong:
        wrong = [name for name in trained if trained[name].shape != tensors[name].shape]
    if wrong:
        raise UserError(
            f"The model's weights do not fit its network ({len(wrong)} tensors differ, "
            f'the first is "{wrong[0]}"); install the bundle again.'
        )
    network.load_state_dict(tensors, strict=False)
