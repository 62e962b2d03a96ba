"""Prepared examples in memory, their augmentation, and the tokens of a frozen encoder that are
made once and kept.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import atomic_write
from MedLLMSegLib.networks.classification.classifier import Classifier

ENCODE_AT_ONCE = 32
TOKEN_SEED = (
    0  # of the views' augmentation: the same for every run, so that runs can share the tokens
)


@dataclass(frozen=True)
class Examples:
    """What a network is trained or measured on.

    fields: the network's batch keys, each a tensor with the cases along its first axis: "image" (N,
    C, H, W), or (N, T, C, H, W) with "lengths" (N,); "numbers" (N, n) with NaN where missing,
    "categories" (N, m) with -1. Images may be float16 here; a batch is float32. target: (N,) int64.
    ids, groups: (N,) names of cases and patients.
    """

    fields: dict[str, Tensor]
    target: Tensor
    ids: tuple[str, ...]
    groups: tuple[str, ...]

    def __post_init__(self):
        sizes = {len(self.target), len(self.ids), len(self.groups), *map(len, self.fields.values())}
        if len(sizes) != 1:
            raise ValueError(f"examples whose parts have different lengths: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.target)

    def batch(
        self, numbers: Tensor, device="cpu", without: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """The batch of these cases on a device. without: keys that the network will not need."""
        found = {key: value[numbers] for key, value in self.fields.items() if key not in without}
        return {
            key: (v.float() if v.is_floating_point() else v).to(device) for key, v in found.items()
        }


@dataclass(frozen=True)
class ImageAugmentation:
    """How an image is changed in training; nothing is mirrored, as a chest and a heart have sides.

    rotate_deg, scale, shift: largest turn, change of size and shift (as a share of the side).
    contrast, brightness: largest change of the factor, and of the offset in standard deviations of
    the image.
    """

    rotate_deg: float = 10.0
    scale: float = 0.1
    shift: float = 0.05
    contrast: float = 0.2
    brightness: float = 0.2


USUAL_AUGMENTATION = ImageAugmentation()


def augmented(
    images: Tensor, augmentation: ImageAugmentation, generator: torch.Generator
) -> Tensor:
    """Images (B, C, H, W) or sequences (B, T, C, H, W), each case changed in one way of its own,
    of the same shape.
    """
    flat = images.flatten(1, -3) if images.ndim == 5 else images  # (B, T * C, H, W)

    def uniform(size: float) -> Tensor:
        return 2 * torch.rand(len(images), generator=generator) * size - size

    angle, factor = uniform(math.radians(augmentation.rotate_deg)), 1 + uniform(augmentation.scale)
    cos, sin = torch.cos(angle) / factor, torch.sin(angle) / factor
    matrix = torch.stack(
        [
            torch.stack([cos, -sin, 2 * uniform(augmentation.shift)], 1),
            torch.stack([sin, cos, 2 * uniform(augmentation.shift)], 1),
        ],
        1,
    ).to(images.device)  # (B, 2, 3)
    grid = F.affine_grid(matrix, list(flat.shape), align_corners=False)
    moved = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    gain, offset = 1 + uniform(augmentation.contrast), uniform(augmentation.brightness)
    gain, offset = (v.to(images.device)[:, None, None, None] for v in (gain, offset))
    return (moved * gain + offset).reshape(images.shape)


@torch.inference_mode()
def encode_views(
    network: Classifier,
    examples: Examples,
    views: int,
    augmentation: ImageAugmentation | None,
    device="cpu",
    progress: Report | None = None,
) -> Tensor:
    """The frozen encoder's tokens of every case, as it is and in ``views - 1`` augmented ways:
    (views, N, S, width) float16.
    """
    network.eval()
    report, found = Progress.of(progress), []
    for view in range(views):
        rows = []
        for start in range(0, len(examples), ENCODE_AT_ONCE):
            numbers = torch.arange(start, min(start + ENCODE_AT_ONCE, len(examples)))
            batch = examples.batch(numbers, device)
            if view and augmentation is not None:
                generator = torch.Generator().manual_seed(
                    1_000_003 * (TOKEN_SEED + 1) + 1009 * view + start
                )
                batch["image"] = augmented(batch["image"], augmentation, generator)
            rows.append(network.encode(batch).half().cpu())
            report(
                f"encoding the images, view {view + 1} of {views}",
                (view + start / len(examples)) / views,
            )
        found.append(torch.cat(rows))
    return torch.stack(found)


class TokenStore:
    """Tokens of frozen encoders on disk, one file for each encoder, its weights, images and
    number of views.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._held: dict[str, Tensor] = {}

    def get(
        self,
        network: Classifier,
        examples: Examples,
        views: int,
        augmentation: ImageAugmentation | None,
        device="cpu",
        progress: Report | None = None,
    ) -> Tensor:
        """As `encode_views`, made at the first call, and again for other pixels or other weights
        of the encoder.
        """
        name = _tokens_name(network, examples, views, augmentation)
        if name not in self._held:
            path = self.folder / f"tokens-{name}.safetensors"
            if path.exists():
                self._held[name] = load_file(path)["tokens"]
            else:
                tokens = encode_views(
                    network, examples, views, augmentation, device, progress
                ).contiguous()
                with atomic_write(path) as scratch:
                    save_file({"tokens": tokens}, scratch)
                self._held[name] = tokens
        return self._held[name]


def _tokens_name(
    network: Classifier, examples: Examples, views: int, augmentation: ImageAugmentation | None
) -> str:
    """A digest of all that `encode_views` looks at. Its first entry: networks of sequences or of
    several channels encode in ways of their own.
    """
    inputs = [
        type(network).encode.__qualname__,
        network.config.encoder.to_dict(),
        views,
        augmentation and vars(augmentation),
    ]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    tensors: dict[str, Tensor] = {
        key: examples.fields[key] for key in ("image", "lengths") if key in examples.fields
    }
    tensors.update(network.encoder.state_dict())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()[:16]


class Feed(Dataset[dict[str, Any]]):
    """Step -> {"input": the network's batch, "target": (B,), "case": ids}. The order, the views and
    the augmentation follow from seed and epoch alone.

    tokens: (views, N, S, width) of a frozen encoder, which stand under "tokens" in the place of the
    images, or None: then images are augmented afresh for every batch.
    """

    def __init__(
        self,
        examples: Examples,
        tokens: Tensor | None,
        augmentation: ImageAugmentation | None,
        batch: int,
        seed: int,
        device: torch.device | str = "cpu",
    ):
        self.examples, self.tokens, self.augmentation = examples, tokens, augmentation
        self.size, self.seed, self.device = batch, seed, device

    def __len__(self) -> int:
        return 2**31  # as many as the training asks for

    @property
    def steps(self) -> int:
        """Batches of an epoch. A last batch of one case is left out, as no statistics can be
        taken over it.
        """
        whole, rest = divmod(len(self.examples), self.size)
        return max(1, whole + (rest > 1))

    def __getitem__(self, step: int) -> dict[str, Any]:
        epoch, number = divmod(step, self.steps)
        rng = np.random.default_rng((self.seed, epoch))
        order = torch.from_numpy(rng.permutation(len(self.examples)))
        chosen = order[number * self.size : (number + 1) * self.size]
        if self.tokens is not None:
            views = torch.from_numpy(
                rng.integers(len(self.tokens), size=len(order))
            )  # of each case
            batch = self.examples.batch(chosen, self.device, ("image",))
            batch["tokens"] = self.tokens[views[chosen], chosen].float().to(self.device)
        else:
            batch = self.examples.batch(chosen, self.device)
            if self.augmentation is not None:
                seeds = rng.integers(2**62, size=self.steps)  # one for each batch of the epoch
                generator = torch.Generator().manual_seed(int(seeds[number]))
                batch["image"] = augmented(batch["image"], self.augmentation, generator)
        target = self.examples.target[chosen].to(self.device)
        return {"input": batch, "target": target, "case": [self.examples.ids[n] for n in chosen]}


@torch.inference_mode()
def logits_of(
    network: Classifier,
    examples: Examples,
    tokens: Tensor | None = None,
    device="cpu",
    size: int = 32,
) -> np.ndarray:
    """The network's logits (N, classes) float32. tokens: (N, S, width) of its frozen encoder,
    where they are at hand.
    """
    network.eval()
    rows = []
    for start in range(0, len(examples), size):
        numbers = torch.arange(start, min(start + size, len(examples)))
        batch = examples.batch(numbers, device, ("image",) if tokens is not None else ())
        if tokens is not None:
            batch["tokens"] = tokens[numbers].float().to(device)
        rows.append(network(batch))
    return torch.cat(rows).float().cpu().numpy()


@torch.inference_mode()
def features_of(
    network: Classifier, examples: Examples, device="cpu", size: int = 32
) -> np.ndarray:
    """What the network's last linear layer sees: (N, F) float32."""
    network.eval()
    numbers = torch.arange(len(examples)).split(size)
    return (
        torch.cat([network.features(examples.batch(n, device)) for n in numbers])
        .float()
        .cpu()
        .numpy()
    )
