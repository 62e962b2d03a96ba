"""A bundle's knowledge of its model's domain: stored, bound to the model, and checked."""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import METADATA, measured_model, read_metadata
from MedLLMSegLib.registry.domain_reference import (
    DOMAIN_FILE,
    DomainReference,
    as_stored,
    read_domain,
    write_domain,
)
from MedLLMSegLib.registry.feature_reference import FeatureReference
from Testing.helpers.tiny_classifier import write_tiny


@pytest.fixture
def reference():
    features = np.random.default_rng(0).normal(size=(30, 12))
    return DomainReference(as_stored(FeatureReference.fit(features, 4)), 1.5, "30 test images")


@pytest.fixture
def bundle(tmp_path):
    return write_tiny(tmp_path / "tiny")


def read(folder):
    bundle = read_bundle(folder)
    return read_domain(bundle.folder, bundle.metadata, bundle.measured)


def change_metadata(folder, **fields):
    text = json.dumps(read_metadata(folder) | fields)
    (folder / METADATA).write_text(text, encoding="utf-8")


def test_what_is_read_is_what_was_stored(bundle, reference):
    assert read(bundle) is None
    before = measured_model(read_metadata(bundle)).sha256
    write_domain(bundle, replace(reference, ranges={"spacing": (0.5, 2.0)}), {"command": "fit"})
    found = read(bundle)
    images = np.random.default_rng(1).normal(size=(5, 12))
    assert np.array_equal(found.features.distances(images), reference.features.distances(images))
    assert (found.threshold, found.images) == (1.5, "30 test images")
    assert found.ranges == {"spacing": (0.5, 2.0)}
    assert read_metadata(bundle)["domain"]["command"] == "fit"
    assert measured_model(read_metadata(bundle)).sha256 == before


def test_of_a_model_that_changed_there_is_no_reference(bundle, reference):
    write_domain(bundle, reference, {})
    change_metadata(bundle, threshold=0.7)
    assert read(bundle) is None


def test_another_file_in_its_place_is_refused(bundle, reference):
    write_domain(bundle, reference, {})
    path = bundle / DOMAIN_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="not the one that belongs to the model"):
        read(bundle)
    path.unlink()
    with pytest.raises(UserError, match="no readable"):
        read(bundle)


def test_a_damaged_description_is_refused_in_a_sentence(bundle, reference):
    write_domain(bundle, reference, {})
    stored = read_metadata(bundle)["domain"]
    for damage in ({"threshold": None}, {"ranges": [1]}, {"rest": -1}):
        change_metadata(bundle, domain=stored | damage)
        with pytest.raises(UserError, match="description of the domain"):
            read(bundle)


def test_an_image_is_outside_beyond_the_threshold_and_told_why(reference):
    assert not reference.verdict(np.zeros(12)).outside
    far = reference.verdict(np.full(12, 9.0))
    assert far.outside
    assert far.distance > far.threshold == 1.5
    assert f"{far.distance / 1.5:.2f} times as far from those of 30 test images" in far.reason


def test_features_that_are_no_numbers_are_outside(reference):
    assert "no numbers" in reference.verdict(np.full(12, np.nan)).reason


def test_features_of_another_network_are_an_error(reference):
    with pytest.raises(ValueError, match="features"):
        reference.verdict(np.zeros(13))
