"""Images that a classifier refuses, and those that get a note."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, diagnose
from MedLLMSegLib.diagnosis.input_checks import atypical_image_notes, typical_image
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.radiograph import load_radiograph, radiograph_of
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.tiny_classifier import write_tiny

DATA = Path(os.environ.get("MEDLLMSEG_DATA", Path(__file__).parents[3] / "shared/data"))


needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT TESTED: {DATA} is absent")


def radiograph(path, **tags):
    return write_dicom(
        path,
        np.random.default_rng(0).integers(0, 4000, (80, 80)).astype(np.uint16),
        WindowCenter=2000,
        WindowWidth=4000,
        **tags,
    )


@pytest.mark.parametrize(
    "modality, name",
    (
        ("CT", "CT image"),
        ("MR", "MR image"),
        ("PT", "PET image"),
        ("US", "ultrasound"),
        ("XX", "XX image"),
    ),
)
def test_another_modality_is_refused(bundle, tmp_path, modality, name):
    with pytest.raises(UserError) as caught:
        diagnose(radiograph(tmp_path / "x.dcm", Modality=modality), bundle, device="cpu")
    assert name in str(caught.value)
    assert "takes chest X-ray images" in str(caught.value)
    assert ". " not in str(caught.value)


@pytest.mark.parametrize(
    "tags, words",
    (
        ({"ViewPosition": "LL"}, "lateral view"),
        ({"BodyPartExamined": "KNEE"}, "shows the knee"),
        ({"ViewPosition": "PA"}, None),
        ({"BodyPartExamined": "CHEST"}, None),
        ({"BodyPartExamined": "THORAX"}, None),
        ({"Modality": "OT"}, None),
        ({"Modality": "DX"}, None),
    ),
)
def test_what_is_odd_by_its_tags_gets_a_note(bundle, tmp_path, tags, words):
    notes = [
        n
        for n in diagnose(
            radiograph(tmp_path / "x.dcm", **tags), bundle, device="cpu", heat_map=False
        ).notes
        if "close to" not in n
    ]
    assert (notes == []) if words is None else (len(notes) == 1 and words in notes[0])


def test_images_unlike_the_training_ones_get_a_note(tmp_path):
    rng, rows = np.random.default_rng(0), np.mgrid[:80, :80][0]

    def chest():
        bands = np.exp(-(((rows - 40) / 15.0) ** 2))
        return (bands + rng.normal(0, 0.1, (80, 80))).astype(np.float32)

    def as_volume(array):
        window = {"window_center": 0.5, "window_width": 1.6}
        return Volume(array[None], np.diag([1.0, 1, 1, 1]), "x", window)

    config = PreparationConfig(size=64)
    typical = typical_image(
        [prepare_radiograph(radiograph_of(as_volume(chest())), config)[0] for _ in range(20)]
    )
    model = load_classifier(write_tiny(tmp_path / "t", typical=typical), "cpu")
    assert 0.5 < typical.limit < 1

    def unlike(array):
        notes = diagnose(as_volume(array), model, heat_map=False).notes
        return [note for note in notes if "unlike" in note]

    image = chest()
    assert unlike(image) == []
    assert "negative" in unlike(1 - image)[0]
    assert "turned" in unlike(image.T.copy())[0]


@needs_shared
def test_what_is_unlike_a_chest_is_noticed_on_real_images():
    """From 60 training images: most others pass, negatives and turned ones do not."""
    names = json.loads((DATA / "cxr/splits.json").read_text())
    config = PreparationConfig(size=64)

    def prepared(name):
        return prepare_radiograph(load_radiograph(DATA / "cxr/images" / name), config)[0]

    typical = typical_image([prepared(name) for name in names["train"][::10][:60]])
    others = [prepared(name) for name in names["val"][::4]]

    def flagged(images):
        return float(np.mean([bool(atypical_image_notes(image, typical)) for image in images]))

    assert flagged(others) < 0.2
    assert flagged([-image for image in others]) == 1
    for quarters in (1, 2, 3):
        assert flagged([np.rot90(image, quarters, (1, 2)) for image in others]) > 0.9
