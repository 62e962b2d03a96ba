"""A classifier's bundle ready to run: its network with verified weights, and what a diagnosis
needs to know about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.llm.llama import LlamaWeights
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.classification import build_classifier
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.bundle import Bundle
from MedLLMSegLib.registry.catalogue import DEFAULT_CLASSIFIER, ModelEntry, find_model
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PreparationConfig
from MedLLMSegLib.registry.domain_reference import DomainReference, read_domain
from MedLLMSegLib.segmentation.loaded_segmenter import load_onto

from .classifier_description import TypicalImage
from .input_description import InputConfig


@dataclass(frozen=True, eq=False)
class ClassifierModel:
    """A classifier ready to run.

    threshold: of the second of two classes, or None: the likeliest class is the answer.
    temperature: what the logits are divided by. sha256: of the measured model. typical: the average
    of its training images, or None. domain: by what an image of another domain is told, or None
    where the bundle has no such reference. notes: what the user should know whenever the model is
    used.
    """

    entry: ModelEntry
    network: Classifier
    preparation: PreparationConfig
    input: InputConfig
    threshold: float | None
    temperature: float
    typical: TypicalImage | None
    device: torch.device
    sha256: str = ""
    domain: DomainReference | None = None
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> ClassifierConfig:
        """The network's configuration."""
        return self.network.config

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the logits; of two, the second is the finding."""
        return self.network.config.classes


def load_classifier(name: str | Path = DEFAULT_CLASSIFIER, device: str = "auto") -> ClassifierModel:
    """Read and verify a classifier and its language-model layers.

    name: an id or a bundle's folder. device: see `choose_device`. Where a GPU's memory is too full
    for the model, it is loaded onto the CPU, with a note. Raises `UserError`, also for a licence
    that has not been accepted yet.
    """
    return load_onto(find_model(name, "classifier"), device, _build)


def _build(entry: ModelEntry, bundle: Bundle, device: torch.device) -> ClassifierModel:
    metadata = bundle.metadata
    config = ClassifierConfig.from_dict(metadata["network"])
    weights = _language_model_weights(entry, config, metadata)
    threshold, temperature = metadata["threshold"], float(metadata["calibration"]["temperature"])
    if not temperature > 0 or not (threshold is None or 0 <= threshold <= 1):
        raise ValueError(f"temperature {temperature}, threshold {threshold}")
    # New layers are drawn at random and then filled: the caller's random state must not change.
    with torch.random.fork_rng(devices=[]):
        network = build_classifier.load_classifier(config, bundle.tensors, weights)
    typical = metadata.get("typical")
    return ClassifierModel(
        entry=entry,
        network=network.to(device),
        preparation=PreparationConfig.from_dict(metadata["preparation"]),
        input=InputConfig.from_dict(metadata["input"]),
        threshold=threshold,
        temperature=temperature,
        typical=TypicalImage.from_dict(typical) if typical else None,
        device=device,
        sha256=bundle.measured.sha256,
        domain=read_domain(bundle.folder, metadata, bundle.measured),
    )


def _language_model_weights(
    entry: ModelEntry, config: ClassifierConfig, metadata: Json
) -> LlamaWeights | None:
    """The verified language-model layers, or None for a classifier without a language model."""
    llm = config.pneumollm.llm if config.pneumollm else None
    if llm is None:
        return None
    weights = resolve(llm.source, llm.layers)
    if weights.sha256 != metadata["llm_sha256"]:
        raise UserError(
            f'The language-model layers of "{llm.source}" on this computer are not the ones that'
            f' "{entry.id}" was trained with; run `medllmseg llm verify`.'
        )
    return weights
