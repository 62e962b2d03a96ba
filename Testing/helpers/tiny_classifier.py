"""A classifier with a tiny network of random weights, as a bundle."""

import torch

from MedLLMSegLib.diagnosis.classifier_bundle import write_classifier
from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.registry.classifier_config import (
    ClassifierConfig,
    EncoderConfig,
    PreparationConfig,
)

FACTS = {
    "id": "tiny",
    "title": "A tiny test of nothing",
    "data": "no data at all",
    "licence": "Apache-2.0",
    "threshold": 0.4,
    "temperature": 1.5,
    "chosen": {"val_auc": 0.6, "trained_on": 9, "chosen_on": 4},
}


def tiny_network(seed=0, kind="mlp", classes=("no finding", "pneumonia"), channels=1, **more):
    """A classifier with random weights; more: further fields of its configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = EncoderConfig(
            kind="cnn", image_size=64, channels=channels, width=16, depths=(1, 2, 3, 4)
        )
        network = build_classifier(
            ClassifierConfig(kind=kind, classes=classes, encoder=encoder, hidden=16, **more)
        )
        # As after a training: without it, all images look the same to the network.
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
    return network.eval()


def write_tiny(folder, network=None, preparation=None, results=None, **facts):
    """Write a bundle of a tiny network; facts: instead of those in `FACTS`."""
    return write_classifier(
        folder,
        network or tiny_network(),
        preparation or PreparationConfig(size=64),
        ClassifierDescription(**{**FACTS, **facts}),
        results,
    )


def volumes(**more):
    """The input of a model of CT volumes."""
    return InputConfig(kind="slices", modalities=("CT",), body_part="", views=(), **more)
