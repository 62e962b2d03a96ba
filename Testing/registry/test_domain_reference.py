"""A bundle's knowledge of its model's domain: stored, bound to the model, and checked."""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry import domain_reference
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import METADATA, measured_model, read_metadata
from MedLLMSegLib.registry.domain_file import DOMAIN_FILE
from MedLLMSegLib.registry.domain_reference import (
    DomainReference,
    as_stored,
    read_domain,
    write_domain,
)
from MedLLMSegLib.registry.feature_reference import FeatureReference
from MedLLMSegLib.registry.user_models import delete_model, import_model, verify_model
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
    write_domain(bundle, reference, {"command": "fit"})
    found = read(bundle)
    images = np.random.default_rng(1).normal(size=(5, 12))
    assert np.array_equal(found.features.distances(images), reference.features.distances(images))
    assert (found.threshold, found.images) == (1.5, "30 test images")
    assert read_metadata(bundle)["domain"]["command"] == "fit"
    assert measured_model(read_metadata(bundle)).sha256 == before


def test_the_digest_outlives_storing_and_tells_references_apart(bundle, reference):
    write_domain(bundle, reference, {})
    assert read(bundle).digest == reference.digest
    features = np.random.default_rng(3).normal(size=(30, 12))
    other = as_stored(FeatureReference.fit(features, 4))
    for change in ({"threshold": 1.6}, {"images": "others"}, {"features": other}):
        assert replace(reference, **change).digest != reference.digest


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


def test_a_refit_that_is_killed_leaves_a_model_without_a_reference(bundle, reference, monkeypatch):
    write_domain(bundle, reference, {})
    write_text, written = domain_reference.write_text, []

    def killed_at_the_second(path, text):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write_text(path, text)

    monkeypatch.setattr(domain_reference, "write_text", killed_at_the_second)
    features = np.random.default_rng(3).normal(size=(30, 12))
    other = DomainReference(as_stored(FeatureReference.fit(features, 4)), 1.5, "others")
    with pytest.raises(KeyboardInterrupt):
        write_domain(bundle, other, {})
    assert read(bundle) is None
    monkeypatch.undo()
    assert read(write_domain(bundle, other, {})).images == "others"


def test_an_imported_model_knows_its_domain_under_any_name(
    bundle, reference, tmp_path, monkeypatch
):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    write_domain(bundle, reference, {})
    entries = [import_model(bundle, rename=True) for _ in range(2)]
    assert entries[0].id != entries[1].id
    for entry in entries:
        assert read(entry.folder).images == "30 test images"
        delete_model(entry)


def test_a_model_whose_reference_is_lost_is_neither_imported_nor_verified(
    bundle, reference, tmp_path, monkeypatch
):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    write_domain(bundle, reference, {})
    (bundle / DOMAIN_FILE).unlink()
    for take in (import_model, verify_model):
        with pytest.raises(UserError, match="no readable models/domain"):
            take(bundle)
    change_metadata(bundle, threshold=0.7)  # of another model by now: nothing is lost
    assert verify_model(bundle).id == import_model(bundle).id


def test_a_damaged_description_is_refused_in_a_sentence(bundle, reference):
    write_domain(bundle, reference, {})
    stored = read_metadata(bundle)["domain"]
    for damage in ({"threshold": None}, {"images": None, "rest": "x"}, {"rest": -1}):
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
