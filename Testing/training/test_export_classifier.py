"""A trained classifier becomes a bundle; its threshold is that of the stored weights."""

import numpy as np
import pytest
import torch

from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.metrics.calibration import calibrated_probabilities, fit_temperature
from MedLLMSegLib.metrics.classification import youden_threshold
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from MedLLMSegLib.training.classifier import export_classifier as unit
from MedLLMSegLib.training.classifier.examples import Examples, logits_of
from Testing.helpers.tiny_classifier import FACTS, tiny_network


def noise_examples(target):
    image = torch.randn((12, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    names = tuple(f"c{n}" for n in range(12))
    return Examples({"image": image}, target, names, names)


def exported(folder, network, val):
    facts = {name: FACTS[name] for name in ("title", "data", "licence", "chosen")}
    about = ClassifierDescription("tiny", modality="noise", **facts)
    return unit.export_classifier(folder, network, val, PreparationConfig(size=64), about)


def mostly_right(network):
    """Classes that the network gets right but for two of twelve images, so a temperature fits."""
    logits = logits_of(network, noise_examples(torch.zeros(12, dtype=torch.long)))
    margin = logits[:, 1] - logits[:, 0]
    target = torch.from_numpy((margin > np.median(margin)).astype(int))
    middle = np.argsort(np.abs(margin - np.median(margin)))[:2]
    target[middle] = 1 - target[middle]
    return target


def test_where_no_temperature_fits_the_card_says_so(tmp_path):
    """Noise and classes that have nothing to do with it."""
    folder = exported(tmp_path / "b", tiny_network(), noise_examples(torch.arange(12) % 2))
    assert load_classifier(folder, "cpu").temperature == 1.0
    card = " ".join((folder / "docs/README.md").read_text(encoding="utf-8").split())
    assert "**The probabilities are not calibrated.** No temperature could be fitted" in card
    assert "fitted on images" not in card


def test_temperature_and_threshold_are_those_of_the_weights_in_the_bundle(tmp_path, monkeypatch):
    network, measured = tiny_network(), {}
    target = mostly_right(network)
    val = noise_examples(target)

    def logits_noted(network, *arguments, **options):
        measured.update({k: v.clone() for k, v in network.state_dict().items()})
        return logits_of(network, *arguments, **options)

    monkeypatch.setattr(unit, "logits_of", logits_noted)
    folder = exported(tmp_path / "bundle", network, val)
    stored = read_bundle(folder).tensors
    assert stored
    assert all(torch.equal(measured[name].float(), stored[name]) for name in stored)
    model = load_classifier(folder, "cpu")
    logits = logits_of(model.network, val)
    temperature = fit_temperature(logits, target.numpy())
    assert model.temperature == pytest.approx(temperature, rel=1e-4)
    threshold = youden_threshold(
        target.numpy(), calibrated_probabilities(logits, temperature)[:, 1]
    )
    assert model.threshold == pytest.approx(threshold, abs=1e-4)
