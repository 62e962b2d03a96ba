"""A bundle: a folder on disk in the MONAI Bundle layout <-> metadata and verified tensors.

    configs/metadata.json      what the model is, how it was trained, measured results, licence,
    sha256 of the weights configs/inference.json     for MONAI's own runner; nothing here reads it
    (see monai_inference.py) models/model.safetensors   the trained tensors as fp16 (never the frozen
    language model's) docs/README.md             the model card LICENSE                    the
    licence of the weights

Reading is strict: a missing file, another sha256 or a tensor of another shape is an error, never a
warning.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as serialise_tensors

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import make_folder, write_error, write_text

from .catalogue import CARD, INFERENCE, LICENCE, METADATA, WEIGHTS, read_metadata


@dataclass(frozen=True)
class Bundle:
    """A bundle read into memory. tensors: name -> float32 tensor."""

    folder: Path
    metadata: dict
    tensors: dict[str, torch.Tensor]


def read_bundle(folder) -> Bundle:
    """Read and verify a bundle. Raises `UserError` when it is missing, damaged or changed."""
    folder, metadata = Path(folder), read_metadata(folder)
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise UserError(
            f'The model bundle "{folder}" has no readable {WEIGHTS}; install it again.'
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != metadata["weights_sha256"]:
        raise UserError(
            f'The weights of the model bundle "{folder}" are not the ones it was published with '
            f"(sha256 {found[:12]}, expected {str(metadata['weights_sha256'])[:12]}); install it"
            " again."
        )
    return Bundle(
        folder, metadata, {name: tensor.float() for name, tensor in load_tensors(data).items()}
    )


def write_bundle(
    folder,
    metadata: dict,
    tensors: dict[str, torch.Tensor],
    card: str,
    licence: str,
    inference: dict | None = None,
) -> Path:
    """Write a bundle whole or not at all, replacing one that stands there.

    tensors: trained tensors of any float type, stored as fp16. card, licence: the texts of the
    model card and LICENSE. inference: what MONAI's own runner needs
    (`monai_inference.inference_config`); None for a model that it cannot run.
    """
    folder = Path(folder)
    check_bundle_folder(folder)
    make_folder(folder.parent)
    data = _serialised(tensors)
    metadata = {**metadata, "weights_sha256": hashlib.sha256(data).hexdigest()}
    texts = {
        CARD: card,
        LICENCE: licence,
        METADATA: _json(metadata),
        **({INFERENCE: _json(inference)} if inference else {}),
    }
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in {
            WEIGHTS: data,
            **{name: text.encode("utf-8") for name, text in texts.items()},
        }.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        os.chmod(scratch, 0o755)
        _put_in_place(scratch, folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def check_bundle_folder(folder: Path) -> None:
    """Raise `UserError` where something stands that a bundle must not replace."""
    if (
        folder.exists()
        and not (folder / METADATA).is_file()
        and not (folder.is_dir() and not any(folder.iterdir()))
    ):
        raise UserError(f'"{folder}" is there already and is no model bundle; choose a new folder.')


def _put_in_place(made: Path, folder: Path) -> None:
    """Move a finished bundle to its place; the one that stood there goes only when the new one
    stands.
    """
    old = made.with_name(made.name + "-old")
    try:
        if folder.exists():
            os.replace(folder, old)
        os.replace(made, folder)
    except BaseException:  # Ctrl-C between the two is no reason to be left without a bundle either
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def rewrite_texts(
    folder,
    metadata: dict,
    card: str | None = None,
    licence: str | None = None,
    inference: dict | None = None,
) -> Path:
    """Replace the texts of a bundle, each file whole; its weights stay untouched, and so does a
    text that is None.

    metadata: of these very weights, "weights_sha256" and all.
    """
    folder = Path(folder)
    texts = {
        INFERENCE: inference and _json(inference),
        CARD: card,
        LICENCE: licence,
        METADATA: _json(metadata),
    }
    for name, text in texts.items():
        if text is not None:
            write_text(folder / name, text)
    return folder


def _json(content: dict) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _serialised(tensors: dict[str, torch.Tensor]) -> bytes:
    return serialise_tensors(
        {k: v.detach().cpu().to(torch.float16).contiguous() for k, v in sorted(tensors.items())}
    )


def weights_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """The sha256 that a bundle of these tensors has."""
    return hashlib.sha256(_serialised(tensors)).hexdigest()


def load_strictly(
    network: torch.nn.Module, tensors: dict[str, torch.Tensor], frozen_prefix: str | None = None
) -> None:
    """Fill a network's trained tensors; every one must be there with its shape, and no other.

    frozen_prefix: tensors under this name belong to the frozen language model, which is read from
    its own file.
    """
    own = {
        k: v
        for k, v in network.state_dict().items()
        if not (frozen_prefix and k.startswith(frozen_prefix))
    }
    wrong = sorted(set(own) ^ set(tensors)) or [k for k in own if own[k].shape != tensors[k].shape]
    if wrong:
        raise UserError(
            f"The model's weights do not fit its network ({len(wrong)} tensors differ, "
            f'the first is "{wrong[0]}"); install the bundle again.'
        )
    network.load_state_dict(tensors, strict=False)
