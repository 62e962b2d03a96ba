"""The images that a model's networks get while it segments: what int8 graphs are calibrated on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.data import read_cases
from MedLLMSegLib.engines.exportable import graph_parts
from MedLLMSegLib.io.scan_search import find_scans
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama, pad_to_multiple
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.pipeline import segment

MOST_SCANS = 8
MOST_IMAGES = 16  # of each network
Seen = dict[str, list[NDArray[np.float32]]]


def calibration_images(
    model: SegmenterModel, data: Path, prefixes: Sequence[str], progress: Progress
) -> Seen:
    """What the networks see of scans, by the prefix of their graphs' names.

    data: labelled cases with a split "train", whose first ones are taken, or scans. prefixes: ""
    for the segmenter, "localizer-" for the localizer. Raises `UserError` without any scan.
    """
    networks = {"": model.network}
    if model.localizer is not None:
        networks["localizer-"] = model.localizer.network
    scans = _scans(data)
    seen: Seen = {prefix: [] for prefix in prefixes}
    with _watched({prefix: networks[prefix] for prefix in prefixes}, seen):
        for scan, part in zip(scans, progress.parts(len(scans)), strict=True):
            part("calibrate", 0.0)
            try:
                segment(load_volume(scan), model)
            except UserError:  # nothing was found in it; what the networks saw counts
                continue
    if not seen[""]:
        raise UserError(f'"{data}" holds no scan that the model takes; give scans of its kind.')
    return seen


def _scans(data: Path) -> list[Path]:
    """The first scans of the train split, or the first of a folder, evenly spread."""
    splits = data / "splits.json"
    if splits.is_file():
        train = set(json.loads(splits.read_text(encoding="utf-8")).get("train", ()))
        scans = [case.image for case in read_cases(data).cases if case.id in train]
    else:
        scans = find_scans([data])
    step = max(1, len(scans) // MOST_SCANS)
    return scans[::step][:MOST_SCANS]


@contextmanager
def _watched(networks: dict[str, nn.Module], seen: Seen) -> Iterator[None]:
    """Within the block, what goes into each network is kept, padded as its graph gets it."""

    def watch(prefix: str, network: nn.Module) -> torch.utils.hooks.RemovableHandle:
        multiple = graph_parts(network)[0].multiple
        assert multiple is not None

        def before(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if len(seen[prefix]) < MOST_IMAGES:
                padded = pad_to_multiple(inputs[0].detach().float(), multiple)
                seen[prefix].append(padded.contiguous().numpy().copy())

        # Where logits are made slab by slab, the network itself is not called.
        entrance = network.embedding if isinstance(network, MedVisionLlama) else network
        return entrance.register_forward_pre_hook(before)

    handles = [watch(prefix, network) for prefix, network in networks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
