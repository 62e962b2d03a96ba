"""A bundle of the heart with a tiny network of random weights."""

import torch

from MedLLMSegLib.anatomy.structures import cardiac_structures
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.network_config import NetworkConfig

TINY = NetworkConfig(
    classes=4,
    stem_channels=(4, 8),
    strides=((1, 2, 2), (2, 2, 2)),
    width=24,
    heads=2,
    depth=1,
    deep_supervision=True,
    llm=None,
)


ABOUT = {
    "id": "heart",
    "title": "Heart",
    "kind": "segmenter",
    "modality": "MR cine",
    "anatomy": None,
    "licence": "MIT",
    "structures": ["right ventricle", "myocardium", "left ventricle"],
    "accuracy": "not measured",
    "labels": [s.to_dict() for s in cardiac_structures()],
    "network": TINY.to_dict(),
    "preprocessing": {"spacing_mm": [8.0, 2.0, 2.0], "axes": "scan", "window": [4, 24, 24]},
    "calibration": {"temperature": 1.5},
    "plan": {"flips": [2]},
}


def heart_bundle(folder, **changes):
    torch.manual_seed(0)
    return write_bundle(
        folder / "heart", {**ABOUT, **changes}, build_network(TINY).state_dict(), "card", "licence"
    )
