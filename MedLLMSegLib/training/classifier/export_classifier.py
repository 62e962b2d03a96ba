"""From a finished training to a bundle that `medllmseg diagnose` and the panel read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from MedLLMSegLib.diagnosis.classifier_bundle import rounded_as_stored, write_classifier
from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.metrics.calibration import (
    TemperatureNotFound,
    calibrated_probabilities,
    fit_temperature,
)
from MedLLMSegLib.metrics.classification import area_under_roc, youden_threshold
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.classifier_config import PreparationConfig

from .examples import Examples, logits_of


def export_classifier(
    folder,
    network: Classifier,
    val: Examples,
    preparation: PreparationConfig,
    about: ClassifierDescription,
    device="cpu",
) -> Path:
    """Write a trained network as a bundle, its temperature and threshold taken on val with the
    weights as they are stored.

    about: facts for the card; its temperature, threshold and val AUC are filled in here. Where no
    temperature could be fitted it is 1, and the card says why.
    """
    rounded_as_stored(network)
    logits, truth = logits_of(network, val, device=device), val.target.numpy()
    temperature, not_fitted = 1.0, {}
    try:
        temperature = fit_temperature(logits, truth)
    except TemperatureNotFound as why:
        not_fitted = {"temperature_not_fitted": str(why)}
    probabilities = calibrated_probabilities(logits, temperature)
    threshold = (
        youden_threshold(truth, probabilities[:, 1]) if probabilities.shape[1] == 2 else None
    )
    chosen = {
        **about.chosen,
        **not_fitted,
        "chosen_on": len(val),
        "val_auc": round(area_under_roc(truth, probabilities), 5),
    }
    filled = replace(about, temperature=temperature, threshold=threshold, chosen=chosen)
    return write_classifier(folder, network.cpu(), preparation, filled)
