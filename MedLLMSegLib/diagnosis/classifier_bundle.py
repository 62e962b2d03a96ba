"""A classifier <-> a bundle: the layout of `MedLLMSegLib.registry.bundle`, with "task":
"classification" in its metadata.

The weights hold everything except the frozen language model. They hold the encoder even where it
was not trained, so that a diagnosis needs no download.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.classification.build_classifier import stored_tensors
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.bundle import (
    as_stored,
    read_bundle,
    rewrite_texts,
    weights_sha256,
    write_bundle,
)
from MedLLMSegLib.registry.catalogue import find_model, measured_model
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PreparationConfig
from MedLLMSegLib.registry.own_figures import check_own_figures, is_of, without_names

from .classifier_card import accuracy_in_words, classifier_card, classifier_licence, eval_metrics
from .classifier_description import ClassifierDescription
from .monai_metadata import classifier_fields, classifier_inference

FP16_LARGEST = 65504.0
FIELDS_OF_DESCRIPTION = (
    "id",
    "title",
    "version",
    "modality",
    "data",
    "licence",
    "threshold",
    "chosen",
    "training",
    "accept_licence",
    "licence_note",
    "data_note",
    "intended_use",
    "limits",
    "authors",
    "seen",
)


@dataclass(frozen=True)
class _BundleTexts:
    """The files that are made from the metadata. inference: None where MONAI cannot run it."""

    card: str
    licence: str
    inference: Json | None

    @classmethod
    def of(cls, metadata: Json) -> _BundleTexts:
        return cls(
            classifier_card(metadata), classifier_licence(metadata), classifier_inference(metadata)
        )


def write_classifier(
    folder: PathLike,
    network: Classifier,
    preparation: PreparationConfig,
    about: ClassifierDescription,
    results: Json | None = None,
) -> Path:
    """Write a trained classifier as a bundle, whole or not at all; an existing bundle is replaced.

    results: what `medllmseg evaluate` measured with exactly these weights (by its
    "weights_sha256"), or None. Raises `UserError` for weights that fp16 cannot hold and for
    results of other weights.
    """
    tensors = stored_tensors(network)
    for name, tensor in tensors.items():
        if not bool((tensor.float().abs() <= FP16_LARGEST).all()):
            raise UserError(
                f'The weights "{name}" are not numbers or too large to be stored; train again with'
                " a lower rate."
            )
    metadata = _metadata(network, preparation, about) | {"weights_sha256": weights_sha256(tensors)}
    metadata = with_results(metadata, results)
    texts = _BundleTexts.of(metadata)
    return write_bundle(folder, metadata, tensors, texts.card, texts.licence, texts.inference)


def rounded_as_stored(network: Classifier) -> None:
    """Round a network's weights as a bundle stores them, so that the stored model is measured."""
    network.load_state_dict(as_stored(stored_tensors(network)), strict=False)


def update_classifier(folder: PathLike, results: Json | None = None) -> Path:
    """Write the card and metadata of a classifier's bundle anew. results: new ones, or None."""
    bundle = read_bundle(find_model(folder, "classifier").folder)
    metadata = with_results(bundle.metadata, results)
    texts = _BundleTexts.of(metadata)
    return rewrite_texts(bundle.folder, metadata, texts.card, texts.licence, texts.inference)


def with_results(metadata: Json, results: Json | None) -> Json:
    """The metadata with the measured figures, and without those of what the model was before.

    Raises `UserError` for results of another model, and of images it has seen.
    """
    model = measured_model(metadata)
    if results is not None:
        check_own_figures(results, model, f"The results for {metadata['id']}")
        results = without_names(results)
    elif is_of(metadata.get("results"), model):
        results = metadata["results"]
    metadata = {**metadata, "results": results}
    return {
        **metadata,
        "accuracy": accuracy_in_words(metadata),
        "eval_metrics": eval_metrics(metadata["results"]),
    }


def _metadata(
    network: Classifier, preparation: PreparationConfig, about: ClassifierDescription
) -> Json:
    config = _without_encoder_path(network.config)
    return {
        **{name: getattr(about, name) for name in FIELDS_OF_DESCRIPTION},
        "kind": "classifier",
        "task": "classification",
        "structures": [],
        "classes": list(config.classes),
        "references": list(about.references),
        "network": config.to_dict(),
        "preparation": preparation.to_dict(),
        "input": about.input.to_dict(),
        "typical": about.typical.to_dict() if about.typical else None,
        "calibration": {"temperature": float(about.temperature)},
        "parameters": {
            "trained": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "frozen": sum(p.numel() for p in network.parameters() if not p.requires_grad),
        },
        **_language_model(config),
        **classifier_fields(config, preparation, about),
    }


def _without_encoder_path(config: ClassifierConfig) -> ClassifierConfig:
    """Where the configuration holds the encoder's architecture, its folder is not needed.

    The path could reveal the name of the computer's owner.
    """
    if not config.encoder.architecture:
        return config
    return replace(config, encoder=replace(config.encoder, path=""))


def _language_model(config: ClassifierConfig) -> Json:
    llm = config.pneumollm.llm if config.pneumollm else None
    if config.pneumollm is None or llm is None:
        return {"llm": None, "llm_sha256": None}
    weights = resolve(llm.source, llm.layers)
    text = f"{llm.source}, layers {', '.join(map(str, llm.layers))}"
    if config.pneumollm.llm_weights == "random":
        text += " with random weights"
    return {"llm": text, "llm_sha256": weights.sha256, "llm_licence": weights.licence}
