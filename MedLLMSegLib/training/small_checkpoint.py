"""A training's weights in a small file: worth keeping where a checkpoint with its optimiser is not.

    python -m MedLLMSegLib.training.small_checkpoint runs/brain/last.pt brain.safetensors

A large matrix is kept in whole numbers of 8 bits with one scale for each output channel, all else
in 16 bits: a million weights are about a megabyte. A training that starts from such a file goes on
with the samples it would have had; the optimiser's momentum is new, so the rate warms up again.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise_tensors
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.registry.seen_cases import FIELD, SeenCases

from .checkpoint import load

FORMAT = "medllmseg small checkpoint 1"
LARGEST = 127  # of the whole numbers
# Smaller matrices are a twentieth of the brain model's weights, and among them are the layers
# nearest to image and logits, whose rounding tells most.
LARGE_MATRIX = 16_384  # numbers
AVERAGE, OWN, SCALE = "average.", "own.", ".scale"


@dataclass(frozen=True, eq=False)
class SmallCheckpoint:
    """average: the exponential moving average of the trained tensors, by name. own: the tensors
    themselves; the average's where only those were kept. step: updates made. seconds: of training.
    seen: the cases that the weights were trained on or chosen by; not known by default.
    """

    average: dict[str, Tensor]
    own: dict[str, Tensor]
    step: int
    seconds: float
    seen: SeenCases = field(default_factory=SeenCases)

    def fill(self, network: nn.Module) -> None:
        """Put its own weights into a network. Raises `UserError` for another network."""
        wanted = trained_tensors(network)
        differing = sorted(
            name
            for name in {*wanted, *self.own}
            if name not in wanted
            or name not in self.own
            or wanted[name].shape != self.own[name].shape
        )
        if differing:
            raise UserError(
                f'The checkpoint is of another network: "{differing[0]}" differs; give the options'
                " (such as --arm) that its training began with."
            )
        network.load_state_dict(self.own, strict=False)


def checkpoint_of(path) -> SmallCheckpoint:
    """What a training's last.pt holds of this. Raises `UserError` for a damaged file."""
    saved = load(Path(path))
    # The second names are those of the runner that began the brain model's training.
    own, average = (
        {name: tensor.detach().float() for name, tensor in saved[key].items()}
        for key in (("network", "average") if "network" in saved else ("own", "ema"))
    )
    return SmallCheckpoint(average, own, saved["step"], saved.get("seconds", saved.get("t", 0.0)))


def write_small(path, checkpoint: SmallCheckpoint, with_own: bool = False) -> None:
    """Write the averaged weights, and with ``with_own`` the weights themselves in as many bytes
    again, whole or not at all.
    """
    kept = compact(checkpoint.average, AVERAGE)
    if with_own:
        kept |= compact(checkpoint.own, OWN)
    about = {
        "format": FORMAT,
        "step": str(checkpoint.step),
        "seconds": f"{checkpoint.seconds:.1f}",
        "seen": json.dumps(checkpoint.seen.to_dict()),
    }
    content = serialise_tensors(kept, metadata=about)
    with atomic_write(path) as scratch:
        scratch.write_bytes(content)


def read_small(path) -> SmallCheckpoint:
    """What `write_small` wrote, in float32. Raises `UserError` for a damaged or another file."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError) as error:
        raise UserError(f'"{path}" cannot be read as a checkpoint ({error}).') from error
    if about.get("format") != FORMAT:
        raise UserError(
            f'"{path}" is not a small checkpoint; make one of a training by `python -m'
            " MedLLMSegLib.training.small_checkpoint LAST.pt FILE.safetensors`."
        )
    average, own = expanded(kept, AVERAGE), expanded(kept, OWN)
    seen = SeenCases.of_bundle({FIELD: json.loads(about["seen"])} if "seen" in about else {})
    step, seconds = int(about["step"]), float(about["seconds"])
    return SmallCheckpoint(average, own or average, step, seconds, seen)


def compact(tensors: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Large matrices (out, in, ...) as int8, beside each its scales float16 (out,); all else as
    float16, or as float32 where a value is too large for that.
    """
    kept = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().float().contiguous()
        if values.ndim < 2 or values.numel() < LARGE_MATRIX:
            half = values.half()
            kept[prefix + name] = half if bool(torch.isfinite(half).all()) else values
            continue
        rows = values.flatten(1)  # (out, in ...)
        scale = (rows.abs().amax(1) / LARGEST).half()  # (out,)
        steps = scale.float().clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        whole = (rows / steps).round().clamp(-LARGEST, LARGEST) * (scale > 0)[:, None]
        kept[prefix + name] = whole.to(torch.int8).view(values.shape)
        kept[prefix + name + SCALE] = scale
    return kept


def expanded(kept: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The tensors of `compact` in float32, those of ``prefix`` only."""
    tensors = {}
    for name, values in kept.items():
        if not name.startswith(prefix) or values.dtype == torch.int8:
            continue
        whole = kept.get(name.removesuffix(SCALE))
        if name.endswith(SCALE) and whole is not None and whole.dtype == torch.int8:
            matrix = whole.flatten(1).float() * values.float()[:, None]  # (out, in ...)
            tensors[name[len(prefix) : -len(SCALE)]] = matrix.view(whole.shape)
        else:
            tensors[name[len(prefix) :]] = values.float()
    return tensors


def main(arguments: list[str] | None = None) -> int:
    """Make a small file of a training's checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", metavar="LAST.pt")
    parser.add_argument("output", metavar="FILE.safetensors")
    both = "keep the weights themselves beside their average: twice the size"
    parser.add_argument("--own", action="store_true", help=both)
    options = parser.parse_args(arguments)
    checkpoint = checkpoint_of(options.checkpoint)
    write_small(options.output, checkpoint, options.own)
    size_mb = Path(options.output).stat().st_size / 1e6
    print(f"step {checkpoint.step}, {size_mb:.2f} MB: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
