"""A trained classifier becomes a bundle; its threshold is that of the stored weights."""

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


def test_temperature_and_threshold_are_those_of_the_weights_in_the_bundle(tmp_path, monkeypatch):
    generator, target = torch.Generator().manual_seed(0), torch.arange(12) % 2
    image = torch.randn((12, 1, 64, 64), generator=generator)
    names = tuple(f"c{n}" for n in range(12))
    val = Examples({"image": image}, target, names, names)
    network, measured = tiny_network(), {}

    def logits_noted(network, *arguments, **options):
        measured.update({k: v.clone() for k, v in network.state_dict().items()})
        return logits_of(network, *arguments, **options)

    monkeypatch.setattr(unit, "logits_of", logits_noted)
    facts = {name: FACTS[name] for name in ("title", "data", "licence", "chosen")}
    about = ClassifierDescription("tiny", modality="noise", **facts)
    folder = unit.export_classifier(
        tmp_path / "bundle", network, val, PreparationConfig(size=64), about
    )
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
