"""A classifier's bundle: what is stored, what its card says, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, diagnose, list_models
from MedLLMSegLib.data import assumed_alone
from MedLLMSegLib.diagnosis.classifier_bundle import rounded_as_stored, update_classifier
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.networks.classification.build_classifier import build_classifier, stored_tensors
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import METADATA, find_model, model_entry
from MedLLMSegLib.registry.classifier_config import (
    ClassifierConfig,
    EncoderConfig,
    PneumoLLMConfig,
    PreparationConfig,
)
from MedLLMSegLib.registry.network_config import LLMConfig
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from MedLLMSegLib.registry.user_models import delete_model, import_model, verify_model
from Testing.helpers.tiny_classifier import tiny_network, write_tiny


def test_a_bundle_gives_back_the_network_and_what_it_says_of_itself(bundle):
    network, model, entry = tiny_network(), load_classifier(bundle, "cpu"), model_entry(bundle)
    assert model.config == network.config
    assert not model.network.training
    for name, tensor in stored_tensors(model.network).items():
        assert torch.allclose(tensor.float(), network.state_dict()[name].float(), atol=2e-3), name
    assert (entry.kind, entry.classes, entry.structures) == (
        "classifier",
        ("no finding", "pneumonia"),
        (),
    )
    about = json.loads((bundle / METADATA).read_text())
    assert about["task"] == "classification"
    assert about["network_data_format"]["outputs"]["pred"]["num_channels"] == 2
    assert about["network_data_format"]["post_processed_outputs"]["pred"]["channel_def"] == {
        "0": "no finding",
        "1": "pneumonia",
    }
    card = (bundle / "docs/README.md").read_text()
    assert "Research use only; not a medical device." in card
    assert "Nothing has been measured yet." in card
    assert "0.400" in card
    assert (
        "Apache License" in (bundle / "LICENSE").read_text()
        or "Apache-2.0" in (bundle / "LICENSE").read_text()
    )


def test_results_of_these_very_weights_go_into_the_card(bundle):
    sha256 = model_entry(bundle).sha256

    def figure(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    results = {
        "weights_sha256": sha256,
        "measured_model": read_bundle(bundle).measured.sha256,
        "cases": 96,
        "patients": 90,
        "data": "cxr",
        "ece": 0.05,
        "figures": {
            "auc": figure(0.7),
            "sensitivity": figure(0.6),
            "specificity": figure(0.65),
            "accuracy": figure(0.62),
        },
        "subgroups": [
            {
                "column": "view",
                "value": "PA",
                "n": 40,
                "auc": figure(0.61),
                "accuracy": {"value": None, "low": None, "high": None},
            }
        ],
        "shortcut": {"view": {"accuracy": 0.617}},
    }
    update_classifier(bundle, results)
    card = (bundle / "docs/README.md").read_text()
    assert "| AUC | 0.700 (0.600 to 0.800) |" in card
    assert "96 images of 90 patients" in card
    assert "| view PA | 40 | 0.610" in card
    assert "Guessing from view alone is right in 61.7 %" in card
    assert "0.050" in card
    assert model_entry(bundle).accuracy == "AUC 0.700 on 96 test images"
    assert model_entry(bundle).sha256 == sha256
    assert load_classifier(bundle, "cpu")
    with pytest.raises(UserError, match="measured with other weights"):
        update_classifier(bundle, {**results, "weights_sha256": "0" * 64})
    assert "it is not known whether they took part in training" in " ".join(card.split())


@pytest.mark.parametrize(
    "patients, alone, whose, over",
    [
        (90, (), " of 90 patients", " over patients"),
        (96, range(96), "", " over images"),  # each image is a patient of its own
        (90, range(40), " of 90 patients", " over patients"),  # some are named
        (None, (), "", ""),  # nobody counted them
    ],
)
def test_intervals_are_over_patients_only_where_patients_are_known(
    bundle, patients, alone, whose, over
):
    cases = [(str(n), str(n) if n in alone else f"patient {n % 90}") for n in range(96)]
    results = {
        "weights_sha256": model_entry(bundle).sha256,
        "measured_model": read_bundle(bundle).measured.sha256,
        "cases": 96,
        "patients": patients,
        "assumption": assumed_alone(cases),
        "figures": {"auc": {"value": 0.7, "low": 0.6, "high": 0.8}},
    }
    update_classifier(bundle, results)
    card = " ".join((bundle / "docs/README.md").read_text().split())
    assert f"On 96 images{whose} of which" in card
    assert f"In brackets the 95 % interval, bootstrapped{over}." in card
    assert results["assumption"] in card
    assert bool(results["assumption"]) == bool(alone)


def test_figures_do_not_survive_a_new_threshold(bundle):
    """As anything else that decides an answer."""
    results = {
        "weights_sha256": model_entry(bundle).sha256,
        "measured_model": read_bundle(bundle).measured.sha256,
        "cases": 2,
        "figures": {"auc": {"value": 0.7, "low": 0.6, "high": 0.8}},
    }
    update_classifier(bundle, results)
    assert model_entry(bundle).accuracy == "AUC 0.700 on 2 test images"
    change(threshold=0.25)(bundle)
    assert model_entry(bundle).accuracy == "not measured"
    update_classifier(bundle)
    assert "Nothing has been measured yet" in (bundle / "docs/README.md").read_text()
    with pytest.raises(UserError, match="other settings"):
        update_classifier(bundle, results)


def test_images_that_were_seen_are_not_said_to_be_unseen(bundle):
    def measured(marks):
        return {
            "weights_sha256": model_entry(bundle).sha256,
            "measured_model": read_bundle(bundle).measured.sha256,
            "cases": 1,
            "marks": {"a name": marks},
            "figures": {"auc": {"value": 0.7, "low": 0.6, "high": 0.8}},
        }

    seen = SeenCases(train=Marks(frozenset({"0123456789abcdef"})), known=True)
    change(seen=seen.to_dict())(bundle)
    with pytest.raises(UserError, match="trained on or chosen by"):
        update_classifier(bundle, measured({"scans": ["0123456789abcdef"], "persons": []}))
    update_classifier(bundle, measured({"scans": ["fedcba9876543210"], "persons": []}))
    card = (bundle / "docs/README.md").read_text()
    assert "that had no part in training or choosing" in " ".join(card.split())
    assert "a name" not in card + (bundle / METADATA).read_text()


def change(**fields):
    def damage(folder):
        path = folder / METADATA
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return damage


def cut(folder):
    path = folder / "models/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    "damage, words",
    (
        (cut, "not the ones it was published with"),
        (lambda f: (f / "models/model.safetensors").unlink(), "no readable models"),
        (change(network={"kind": "mlp", "hidden": 17}), "do not fit"),
        (change(network={"kind": "none"}), "ClassifierConfig.kind"),
        (change(calibration={"temperature": 0}), "damaged"),
        (change(preparation={"size": -1}), "PreparationConfig.size"),
        (change(input={"kind": "sound"}), "InputConfig.kind"),
        (change(classes=3), "damaged"),
        (change(threshold="high"), "damaged"),
    ),
)
def test_a_bundle_that_is_not_whole_is_refused(bundle, image, damage, words):
    damage(bundle)
    with pytest.raises(UserError, match=words):
        diagnose(image, bundle, device="cpu")


def test_the_frozen_encoder_is_stored_and_the_language_model_is_not(tmp_path, image):
    encoder = EncoderConfig(kind="cnn", image_size=64, width=16, frozen=True)
    part = PneumoLLMConfig(tokens=2, projector_width=16, llm=LLMConfig(layers=(29,), rotary=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_classifier(
            ClassifierConfig(kind="pneumollm", encoder=encoder, pneumollm=part)
        ).eval()
    names = set(stored_tensors(network))
    assert any(n.startswith("encoder.") for n in names)
    assert not any(n.startswith("llm.layers.") for n in names)
    assert any(n.startswith("llm.adapters.") for n in names)
    folder = write_tiny(tmp_path / "p", network)
    assert (folder / "models/model.safetensors").stat().st_size < 1.5e6
    about = read_bundle(folder).metadata
    assert len(about["llm_sha256"]) == 64
    assert "smollm2-135m, layers 29" in (folder / "docs/README.md").read_text()
    found = diagnose(image, folder, device="cpu")
    rounded_as_stored(network)
    batch = {
        "image": torch.from_numpy(
            prepare_radiograph(load_radiograph(image), PreparationConfig(size=64))[0]
        )[None]
    }
    assert np.allclose(
        list(found.probabilities.values()),
        torch.softmax(network(batch)[0] / 1.5, 0).detach(),
        atol=1e-5,
    )
    change(llm_sha256="0" * 64)(folder)
    with pytest.raises(UserError, match="llm verify"):
        diagnose(image, folder, device="cpu")


def test_weights_that_fp16_cannot_hold_are_not_written(tmp_path):
    for value in (1e6, float("nan")):
        network = tiny_network()
        network.head.weight.data[0, 0] = value
        with pytest.raises(UserError, match=r"head.weight"):
            write_tiny(tmp_path / "big", network)
        assert not (tmp_path / "big").exists()


def test_a_classifier_of_the_users_is_taken_in_listed_apart_verified_and_deleted(bundle, image):
    entry = import_model(bundle)
    assert entry.id == "tiny"
    assert verify_model("tiny").kind == "classifier"
    assert "tiny" not in [e.id for e in list_models()]
    assert [e.id for e in list_models("classifier")][-1] == "tiny"
    assert diagnose(image, "tiny", device="cpu").model == "tiny"
    delete_model("tiny")
    assert "tiny" not in [e.id for e in list_models(None)]
    change(network={"kind": "none"})(bundle)
    with pytest.raises(UserError, match=r"ClassifierConfig|damaged"):
        import_model(bundle)


def test_a_licence_is_accepted_first(tmp_path, image, temporary_cache):
    shutil.copytree(
        write_tiny(tmp_path / "strict", id="strict", licence="CC-BY-NC-4.0", accept_licence=True),
        temporary_cache / "models/strict",
    )
    with pytest.raises(UserError, match="--accept strict"):
        diagnose(image, "strict", device="cpu")
    from MedLLMSegLib import accept_licence

    accept_licence("strict")
    assert diagnose(image, "strict", device="cpu")


def test_the_other_kind_of_model_is_refused_in_words(bundle, image):
    with pytest.raises(
        UserError,
        match=(
            r"is a model that outlines structures.*medllmseg segment.*one that diagnoses is needed"
        ),
    ):
        diagnose(image, "hippocampus-t1")
    from MedLLMSegLib import load_model

    with pytest.raises(
        UserError,
        match=(
            r"is a model that diagnoses.*medllmseg diagnose.*outlines structures is needed here;"
            r" those are: .*hippocampus-t1"
        ),
    ):
        load_model(bundle)
    with pytest.raises(UserError, match="no model called"):
        find_model("nothing", "classifier")


def test_a_classifiers_memory_counts_its_language_model(bundle):
    from MedLLMSegLib.registry.memory_estimate import BASE_GB, model_choice, needed_gb

    small = needed_gb(model_entry(bundle))
    assert BASE_GB < small < BASE_GB + 0.01
    assert model_choice(model_entry(bundle)).memory_text.startswith("needs about 0.7 GB")
    change(parameters={"trained": 1, "frozen": 100_000_000})(bundle)
    assert needed_gb(model_entry(bundle)) == pytest.approx(small + 0.8, abs=0.01)
    change(parameters=7)(bundle)
    assert needed_gb(model_entry(bundle)) == pytest.approx(small, abs=0.01)
