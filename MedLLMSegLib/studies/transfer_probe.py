"""Which depth of brain-mr serves structures that it was never taught? A linear probe by depth.

    python -m MedLLMSegLib.studies.transfer_probe --data ../shared/data/hippocampus \
--output runs/probe

brain-mr knows the hippocampus as a whole. Here the front and back part of it, drawn by hand in the
Decathlon's crops, are told apart from all else by a logistic regression on the features of one
layer, voxel by voxel, with nothing else trained. Controls: the same network with weights that were
never trained, and the place in the crop alone, without any image. Some crops of the train split
teach the probe, some of the test split judge it; intervals are over heads.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.networks.segmentation.feature_layers import feature_layers, features_seen
from MedLLMSegLib.reporting.markdown import table
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from MedLLMSegLib.segmentation.prepare import normalise

from .study.page import mean_text

MODEL = "brain-mr"
PARTS = (1, 2)  # labels: anterior, posterior
VOXELS = 400  # of a crop that teach the probe: half of them background
TRAINED, UNTRAINED, PLACE = "trained", "untrained", "place alone"


@dataclass(frozen=True, eq=False)
class Crop:
    """One crop. head: whose. image: (1, 1, K, J, I), normalised. labels: [k, j, i]."""

    head: int
    image: Tensor
    labels: NDArray[np.uint8]


ValuesOf = Callable[[Crop], Array]


def crops(data: Path, split: str, most: int) -> Iterator[Crop]:
    """One crop each of so many heads of a split."""
    try:
        names = json.loads((data / "splits.json").read_text(encoding="utf-8"))[split]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f'"{data}" has no splits.json with a list "{split}"; give the folder of the hippocampi.'
        ) from error
    by_head = {(int(name.rpartition("_")[2]) + 1) // 2: name for name in reversed(names)}
    for head in sorted(by_head)[:most]:
        name = by_head[head]
        image = normalise(load_volume(data / "imagesTr" / f"{name}.nii.gz").array)
        labels = load_volume(data / "labelsTr" / f"{name}.nii.gz").array.astype(np.uint8)
        yield Crop(head, torch.from_numpy(image)[None, None], labels)


def features_of(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Layer -> its features (1, C, a, b, c), over the padded image."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, made: Tensor) -> None:
        seen[name] = made

    with ExitStack() as stack, torch.inference_mode():
        for name, layer in feature_layers(network).items():
            stack.enter_context(features_seen(layer, partial(keep, name)))
        network(image)
    return seen


def at_voxels(features: Tensor, shape: Sequence[int], patch: Sequence[int]) -> Array:
    """Features (1, C, a, b, c) of a padded image -> (voxels, C), of all voxels of the image."""
    padded = [-(-n // p) * p for n, p in zip(shape, patch, strict=True)]
    k, j, i = shape
    fine = F.interpolate(features.float(), size=padded, mode="trilinear", align_corners=False)
    values: Array = fine[0, :, :k, :j, :i].flatten(1).T.numpy()
    return values


def places(shape: Sequence[int]) -> Array:
    """(voxels, 9): where each lies in the crop, -1 to 1, with squares and products."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    k, j, i = (axis.ravel() for axis in axes)
    return np.stack([k, j, i, k * k, j * j, i * i, k * j, k * i, j * i], axis=1)


def teaching_voxels(labels: Array, seed: int) -> NDArray[np.intp]:
    """Flat places of the voxels that teach: half background, a quarter each part."""
    rng = np.random.default_rng(seed)
    chosen = []
    for label, share in ((0, 2), (1, 4), (2, 4)):
        found = np.flatnonzero(labels.ravel() == label)
        chosen.append(rng.choice(found, min(len(found), VOXELS // share), replace=False))
    return np.concatenate(chosen)


class Probe:
    """A logistic regression on standardised features, whose classes are as frequent as in whole
    crops, though it was taught by as many voxels of each part.
    """

    def __init__(self, values: Array, labels: Array, frequencies: Array):
        from sklearn.linear_model import LogisticRegression

        self.mean, self.deviation = values.mean(0), values.std(0) + 1e-6
        self.fitted = LogisticRegression(max_iter=300).fit(self._scaled(values), labels)
        taught = np.bincount(labels, minlength=len(frequencies)) / len(labels)
        self.shift = np.log(frequencies) - np.log(taught)

    def predict(self, values: Array) -> NDArray[np.uint8]:
        """(n, C) -> the likeliest class (n,)."""
        scores = self.fitted.decision_function(self._scaled(values)) + self.shift
        return scores.argmax(1).astype(np.uint8)

    def _scaled(self, values: Array) -> Array:
        scaled: Array = (values - self.mean) / self.deviation
        return scaled


@dataclass(frozen=True, eq=False)
class Crops:
    """Those that teach and those that judge; no head is in both. frequencies: of the classes."""

    teaching: tuple[Crop, ...]
    judging: tuple[Crop, ...]
    frequencies: Array

    @classmethod
    def of(cls, data: Path, teach: int, judge: int) -> Crops:
        """From a folder in the Decathlon's layout."""
        teaching = tuple(crops(data, "train", teach))
        labels = np.concatenate([crop.labels.ravel() for crop in teaching])
        counts = np.bincount(labels, minlength=3)[:3]
        return cls(teaching, tuple(crops(data, "test", judge)), counts / counts.sum())

    def probed(self, values_of: ValuesOf) -> list[Json]:
        """{"head", "dice"} of each crop that judges: the mean Dice of both parts.

        values_of: crop -> (voxels, C).
        """
        chosen = [teaching_voxels(crop.labels, n) for n, crop in enumerate(self.teaching)]
        pairs = list(zip(self.teaching, chosen, strict=True))
        probe = Probe(
            np.concatenate([values_of(crop)[at] for crop, at in pairs]),
            np.concatenate([crop.labels.ravel()[at] for crop, at in pairs]),
            self.frequencies,
        )
        rows = []
        for crop in self.judging:
            found = probe.predict(values_of(crop)).reshape(crop.labels.shape)
            overlap = float(np.mean([dice(found, crop.labels, part) for part in PARTS]))
            rows.append({"head": crop.head, "dice": overlap})
        return rows


def run(data: Path, teach: int, judge: int) -> list[Json]:
    """Rows {"weights", "layer", "head", "dice"}."""
    split = Crops.of(data, teach, judge)
    rows = _named(PLACE, "", split.probed(lambda crop: places(crop.labels.shape)))
    network = load_model(MODEL, "cpu", "fp32").network
    for weights in (TRAINED, UNTRAINED):
        if weights == UNTRAINED:
            forget(network)
        rows += _of_network(network, weights, split)
    return rows


def _of_network(network: nn.Module, weights: str, split: Crops) -> list[Json]:
    seen = {c.head: features_of(network, c.image) for c in (*split.teaching, *split.judging)}
    rows: list[Json] = []
    for layer in feature_layers(network):

        def values_of(crop: Crop, layer: str = layer) -> Array:
            return at_voxels(seen[crop.head][layer], crop.labels.shape, network.patch)  # type: ignore[arg-type]

        own = _named(weights, layer, split.probed(values_of))
        print(f"{weights} {layer}: {np.mean([row['dice'] for row in own]):.3f}", flush=True)
        rows += own
    return rows


def _named(weights: str, layer: str, rows: Iterable[Json]) -> list[Json]:
    return [{"weights": weights, "layer": layer, **row} for row in rows]


def forget(network: nn.Module, seed: int = 0) -> None:
    """Give all weights new random values, as a network has before it is trained; the frozen layer
    of the language model stays.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            trained = any(p.requires_grad for p in module.parameters(recurse=False))
            if callable(reset) and trained:
                reset()
            elif trained:
                for name, weight in module.named_parameters(recurse=False):
                    if weight.ndim > 1:
                        weight.normal_(std=weight[0].numel() ** -0.5)
                    else:
                        weight.fill_(float(name == "weight"))


def tables(rows: Sequence[Json]) -> str:
    """A row for each layer: trained, untrained, and what training gained, paired by head."""
    layers = list(dict.fromkeys(r["layer"] for r in rows if r["weights"] == TRAINED))

    def of(weights: str, layer: str) -> np.ndarray:
        return np.array([r["dice"] for r in rows if (r["weights"], r["layer"]) == (weights, layer)])

    body = [
        [
            layer,
            mean_text(of(TRAINED, layer), 3),
            mean_text(of(UNTRAINED, layer), 3),
            mean_text(of(TRAINED, layer) - of(UNTRAINED, layer), 3, has_sign=True),
        ]
        for layer in layers
    ]
    body.append(["(none: the place in the crop)", mean_text(of(PLACE, ""), 3), "", ""])
    return table(["layer", "trained", "untrained", "difference"], body) + "\n"


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the hippocampi")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--teach", type=int, default=16, help="heads that teach the probe")
    parser.add_argument("--judge", type=int, default=10, help="heads that judge it")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        rows = run(options.data, options.teach, options.judge)
    except (UserError, Cancelled, KeyboardInterrupt) as error:
        print(f"transfer_probe: {error or 'stopped'}", file=sys.stderr)
        return 2
    text = tables(rows)
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "rows.json", json.dumps(rows))
    write_text(options.output / "tables.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
