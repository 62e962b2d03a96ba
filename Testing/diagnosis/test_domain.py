"""`diagnose` says so where an image is of another domain than the model's own."""

import csv

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib import diagnose
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.evaluation.image_features import image_features
from MedLLMSegLib.registry.domain_reference import DomainReference, as_stored, write_domain
from MedLLMSegLib.registry.feature_reference import FeatureReference
from MedLLMSegLib.worker.array_files import load_diagnosis, save_diagnosis


def striped(path, seed):
    """An image like the others of its kind: noise over stripes."""
    rng = np.random.default_rng(seed)
    stripes = 60 * np.sin(np.arange(80) / 5)[None] + 128
    Image.fromarray((stripes + rng.normal(0, 20, (90, 80))).clip(0, 255).astype(np.uint8)).save(
        path
    )
    return path


@pytest.fixture
def own(tmp_path):
    return [striped(tmp_path / f"own{n}.png", n) for n in range(24)]


@pytest.fixture
def knowing(bundle, own):
    """The tiny model, with a reference of striped images and a threshold from others."""
    features = image_features(load_classifier(bundle, "cpu"), own)
    reference = as_stored(FeatureReference.fit(features[:12], 4))
    threshold = 1.5 * float(reference.distances(features[12:]).max())
    return write_domain(bundle, DomainReference(reference, threshold, "12 striped images"), {})


def test_an_image_of_the_models_own_kind_passes_and_another_is_named_first(
    knowing, tmp_path, image
):
    inside = diagnose(striped(tmp_path / "new.png", 99), knowing, device="cpu", heat_map=False)
    assert not inside.domain.outside
    assert not any("domain" in note for note in inside.notes)
    outside = diagnose(image, knowing, device="cpu", heat_map=False)
    assert outside.domain.outside
    assert outside.notes[0].startswith("Outside the domain: its features lie ")
    assert "12 striped images" in outside.notes[0]
    assert 0 < outside.confidence < 1  # the answer is warned of, not hidden


def test_the_heat_map_changes_no_distance(knowing, image):
    with_map = diagnose(image, knowing, device="cpu").domain.distance
    without = diagnose(image, knowing, device="cpu", heat_map=False).domain.distance
    assert with_map == pytest.approx(without, rel=1e-5)


def test_a_model_without_a_reference_says_nothing_of_domains(bundle, image):
    found = diagnose(image, bundle, device="cpu", heat_map=False)
    assert found.domain is None
    assert not any("domain" in note.lower() for note in found.notes)


def test_the_table_and_the_screen_name_the_domain(knowing, own, image, tmp_path, capsys):
    results = tmp_path / "results"
    given = ["diagnose", str(own[0]), str(image), "--model", str(knowing), "--output", str(results)]
    assert main([*given, "--device", "cpu"]) == 0
    assert "note: Outside the domain" in capsys.readouterr().out
    with open(results / "diagnoses.csv", encoding="utf-8", newline="") as file:
        inside, outside = csv.DictReader(file)
    assert (inside["domain"], outside["domain"]) == ("inside", "outside")
    assert float(inside["domain_distance"]) < 1 < float(outside["domain_distance"])


@pytest.mark.parametrize("told", [True, False])
def test_the_verdict_travels_from_the_worker_to_its_owner(knowing, bundle, image, tmp_path, told):
    found = diagnose(image, knowing, device="cpu")
    if not told:
        object.__setattr__(found, "domain", None)
    loaded = load_diagnosis(save_diagnosis(found, tmp_path / "answer"))
    assert loaded.domain == found.domain
    assert (loaded.domain is not None) == told
