"""A classifier <-> a bundle: the layout of `MedLLMSegLib.registry.bundle`, with "task":
"classification" in its metadata.

The weights hold everything but the frozen language model's: the encoder's too, even where it was
not trained, so that nothing has to be fetched for a diagnosis.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.classification.build_classifier import stored_tensors
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.bundle import read_bundle, rewrite_texts, weights_sha256, write_bundle
from MedLLMSegLib.registry.catalogue import find_model
from MedLLMSegLib.registry.classifier_config import PreparationConfig

from .classifier_card import accuracy_in_words, classifier_card, classifier_licence, eval_metrics
from .classifier_description import ClassifierDescription
from .monai_metadata import classifier_fields, classifier_inference

FP16_LARGEST = 65504.0


def write_classifier(
    folder,
    network: Classifier,
    preparation: PreparationConfig,
    about: ClassifierDescription,
    results: dict | None = None,
) -> Path:
    """Write a trained classifier as a bundle, whole or not at all, replacing one that stands there.

    results: what `medllmseg evaluate` measured with these very weights (its "weights_sha256" says
    so), or None. Raises `UserError` for weights that fp16 cannot hold and for results of other
    weights.
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
    return write_bundle(folder, metadata, tensors, *_texts(metadata))


def rounded_as_stored(network: Classifier) -> None:
    """Round a network's weights as a bundle stores them, so that it is measured as it will be
    used.
    """
    network.load_state_dict(
        {k: v.to(torch.float16).to(v.dtype) for k, v in stored_tensors(network).items()},
        strict=False,
    )


def update_classifier(folder, results: dict | None = None) -> Path:
    """Bring the card and metadata of a classifier's bundle up to date, with new results if there
    are any.
    """
    bundle = read_bundle(find_model(folder, "classifier").folder)
    metadata = with_results(bundle.metadata, results)
    return rewrite_texts(bundle.folder, metadata, *_texts(metadata))


def _texts(metadata: dict) -> tuple[str, str, dict | None]:
    return classifier_card(metadata), classifier_licence(metadata), classifier_inference(metadata)


def with_results(metadata: dict, results: dict | None) -> dict:
    """The metadata with what was measured, and nothing that was not."""
    if results is not None and results.get("weights_sha256") != metadata["weights_sha256"]:
        raise UserError(
            f'The results were measured with other weights than those of "{metadata["id"]}";'
            " evaluate this very bundle first."
        )
    metadata = {**metadata, "results": results or metadata.get("results")}
    return {
        **metadata,
        "accuracy": accuracy_in_words(metadata),
        "eval_metrics": eval_metrics(metadata["results"]),
    }


def _metadata(
    network: Classifier, preparation: PreparationConfig, about: ClassifierDescription
) -> dict:
    config = network.config
    if (
        config.encoder.architecture
    ):  # then its folder is not needed, whose path would tell of its owner
        config = replace(config, encoder=replace(config.encoder, path=""))
    own = (
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
    )
    return {
        **{name: getattr(about, name) for name in own},
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


def _language_model(config) -> dict:
    part = config.pneumollm
    if part is None or part.llm is None:
        return {"llm": None, "llm_sha256": None}
    weights = resolve(part.llm.source, part.llm.layers)
    return {
        "llm": (
            f"{part.llm.source}, layers {', '.join(map(str, part.llm.layers))}"
            + (" with random weights" if part.llm_weights == "random" else "")
        ),
        "llm_sha256": weights.sha256,
        "llm_licence": weights.licence,
    }
