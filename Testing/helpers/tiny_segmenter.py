"""A whole-scan model with a tiny network of random weights, as a bundle."""

from dataclasses import replace

import numpy as np
import torch

from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.monai_fields import monai_fields
from MedLLMSegLib.registry.monai_inference import inference_config
from MedLLMSegLib.registry.network_config import OURS

TINY = replace(
    OURS,
    stem_channels=(4, 8, 8),
    width=24,
    heads=2,
    depth=1,
    llm=None,
    strides=((1, 2, 2), (2, 2, 2), (2, 2, 2)),
)


def oblique(shape, spacing, origin=(12.0, -30.0, 5.0)):
    """ijk_to_ras of a scan that is stored upside down and turned by 20 degrees around the body's
    axis.
    """
    turn = np.radians(20)
    matrix = np.eye(4)
    matrix[:3, :3] = (
        np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, -1]])
        * spacing
    )
    matrix[:3, 3] = origin
    return matrix


def tiny_bundle(folder, **more):
    """A whole-scan model of thick slices with untrained but decided weights, in windows smaller
    than the scan, but taller.
    """
    torch.manual_seed(3)
    network = build_network(TINY)
    tensors = {
        name: 8 * t if name.startswith("decoder.head") else t
        for name, t in network.state_dict().items()
    }
    metadata = {
        "id": "tiny",
        "kind": "segmenter",
        "title": "Tiny",
        "modality": "MR cine",
        "anatomy": None,
        "licence": "MIT",
        "structures": ["one", "four"],
        "accuracy": "not measured",
        "network": TINY.to_dict(),
        "labels": [s.to_dict() for s in named_structures({1: "one", 4: "four"})],
        "preprocessing": {
            "spacing_mm": [5.0, 1.5, 1.5],
            "axes": "scan",
            "window": [16, 32, 24],
            "keep_largest": True,
        },
        "calibration": {"temperature": 1.7},
        **more,
    }
    return write_bundle(
        folder,
        {**metadata, **monai_fields(metadata)},
        tensors,
        "card",
        "licence",
        inference_config(metadata),
    )
