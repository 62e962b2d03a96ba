"""A classifier's bundle ready to run: its network with verified weights, and what a diagnosis
must know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.classification import build_classifier as classifiers
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.bundle import Bundle
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER, ModelEntry, find_model
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PreparationConfig
from MedLLMSegLib.segmentation.loaded_segmenter import load_onto

from .classifier_description import TypicalImage
from .input_description import InputConfig


@dataclass(frozen=True, eq=False)
class ClassifierModel:
    """A classifier ready to run.

    threshold: of the second of two classes, or None: the likeliest class is the answer.
    temperature: what logits are divided by. typical: what its training images look like, or None.
    notes: what the user should know whenever it is used.
    """

    entry: ModelEntry
    network: Classifier
    preparation: PreparationConfig
    input: InputConfig
    threshold: float | None
    temperature: float
    typical: TypicalImage | None
    device: torch.device
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> ClassifierConfig:
        return self.network.config

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the logits; of two, the second is the one that is looked for."""
        return self.network.config.classes


def load_classifier(name: str | Path = DEFAULT_CLASSIFIER, device: str = "auto") -> ClassifierModel:
    """Read and verify a classifier and its language-model layers. name: an id or a bundle's folder.

    Where a GPU's memory is too full for it, it comes on the CPU, with a note that says so.
    Raises `UserError` also for a licence that is still to be accepted.
    """
    return load_onto(find_model(name, "classifier"), device, _build)


def _build(entry: ModelEntry, bundle: Bundle, device: torch.device) -> ClassifierModel:
    about = bundle.metadata
    config, part = ClassifierConfig.from_dict(about["network"]), about["network"].get("pneumollm")
    weights = (
        resolve(config.pneumollm.llm.source, config.pneumollm.llm.layers)
        if part and part.get("llm")
        else None
    )
    if weights is not None and weights.sha256 != about["llm_sha256"]:
        raise UserError(
            f'The language-model layers of "{config.pneumollm.llm.source}" on this computer are not'
            f' the ones that "{entry.id}" was trained with; run `medllmseg llm verify`.'
        )
    threshold, temperature = about["threshold"], float(about["calibration"]["temperature"])
    if not temperature > 0 or not (threshold is None or 0 <= threshold <= 1):
        raise ValueError(f"temperature {temperature}, threshold {threshold}")
    with torch.random.fork_rng(
        devices=[]
    ):  # the new parts are drawn, and then filled: the caller's random numbers stay
        network = classifiers.load_classifier(config, bundle.tensors, weights)
    typical = TypicalImage.from_dict(about["typical"]) if about.get("typical") else None
    return ClassifierModel(
        entry,
        network.to(device),
        PreparationConfig.from_dict(about["preparation"]),
        InputConfig.from_dict(about["input"]),
        threshold,
        temperature,
        typical,
        device,
    )
