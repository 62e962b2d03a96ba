"""Hearts as sequences, nodule patches, images with records: read right, learnt, tested, and
ready for `diagnose`.
"""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError
from MedLLMSegLib.data.image_table import ImageCase
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from MedLLMSegLib.studies.diagnosis import heart_sequences as sequences
from MedLLMSegLib.studies.diagnosis import nodules, record_fusion_study
from MedLLMSegLib.studies.diagnosis.study_runs import answer_of
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.training.classifier.prepared_images import number_of, plan_record, record_fields

DATA = Path(__file__).parents[3] / "shared/data"


# Hearts


@pytest.fixture(scope="module")
def acdc(tmp_path_factory):
    """Two patients a group and split; frame01 is end-systole for some, as in the real data."""
    folder, rng = tmp_path_factory.mktemp("acdc"), np.random.default_rng(0)
    stated = {"train": [], "val": [], "test": [], "groups": {}}
    for n in range(30):
        name, group = f"patient{n:03d}", sequences.GROUPS[n % 5]
        stated["groups"][name] = group
        stated["train" if n < 10 else "val" if n < 20 else "test"].append(name)
        for frame, radius in ((1, 5 if n % 7 == 0 else 8), (9, 8 if n % 7 == 0 else 5)):
            label = np.zeros((4, 32, 30), np.uint8)
            j, i = np.ogrid[:32, :30]
            label[:, (j - 16) ** 2 + (i - 15) ** 2 < (radius + 2) ** 2] = 2
            label[:, (j - 16) ** 2 + (i - 15) ** 2 < radius**2] = 3
            label[:, 2:6, 2:6] = 1
            with h5py.File(folder / f"{name}_frame{frame:02d}.h5", "w") as file:
                file["image"] = (label / 3 + 0.1 * rng.normal(size=label.shape)).astype(np.float32)
                file["label"] = label
    (folder / "splits.json").write_text(json.dumps(stated))
    return folder


def test_end_diastole_comes_first_whatever_its_frame(acdc):
    hearts = sequences.read_hearts(acdc)
    assert {name: len(each) for name, each in hearts.items()} == {
        "train": 10,
        "val": 10,
        "test": 10,
    }
    for heart in hearts["train"]:
        sizes = [(v.array == 3).sum() for v in heart.labels]
        assert sizes[0] > sizes[1]
        assert heart.images[0].array.shape == (4, 32, 30)
    (acdc / "patient000_frame09.h5").rename(acdc / "hidden")
    with pytest.raises(UserError, match=r"1 frames of patient000"):
        sequences.read_hearts(acdc)
    (acdc / "hidden").rename(acdc / "patient000_frame09.h5")
    with pytest.raises(UserError, match=r"no splits.json"):
        sequences.read_hearts(acdc.parent)


def test_geometry_is_what_can_be_counted(acdc):
    heart = sequences.read_hearts(acdc)["train"][1]
    found = sequences.geometry(heart)
    left = [(v.array == 3).sum() for v in heart.labels]
    assert found[0] == left[0]
    assert found[3] == pytest.approx(1 - left[1] / left[0])
    assert found[1] == 4 * 16
    assert found[4] == 0


def test_hearts_train_test_and_answer_from_a_bundle(acdc, tmp_path, monkeypatch):
    monkeypatch.setattr(sequences, "PREPARATION", PreparationConfig(size=32, crop="none"))
    study = sequences.heart_study(
        sequences.read_hearts(acdc), tmp_path, StudyResults(tmp_path / "r.json"), seeds=1, epochs=1
    )
    assert study.splits["train"].fields["image"].shape == (10, 2, 3, 32, 32)
    study.rates = (1e-3,)
    study.arms = {
        "cnn-lstm": replace(study.arms["cnn-lstm-small"], title="small"),
        "volumes": study.arms["volumes"],
    }
    study.study.run()
    assert answer_of(study.results.runs["volumes-0"])[0].shape == (10, 5)
    sequences.summarise_hearts(study)
    model = load_classifier_accepted(tmp_path / "acdc/bundle", monkeypatch, tmp_path)
    assert model.classes == sequences.GROUPS
    assert model.input.kind == "frames"
    assert model.threshold is None
    from MedLLMSegLib.diagnosis.predict import diagnose

    heart = sequences.read_hearts(acdc)["test"][0]
    found = diagnose(list(heart.images), model, heat_map=False)
    expected = answer_of(study.results.runs["cnn-lstm-0"])[0][0]
    assert [found.probabilities[g] for g in sequences.GROUPS] == pytest.approx(
        expected.tolist(), abs=0.02
    )


def load_classifier_accepted(folder, monkeypatch, cache):
    from MedLLMSegLib.registry.catalogue import model_entry
    from MedLLMSegLib.registry.licences import accept_licence

    monkeypatch.setenv("MEDLLMSEG_CACHE", str(cache / "cache"))
    accept_licence(model_entry(folder))
    return load_classifier(folder, "cpu")


# Nodules


@pytest.fixture
def patches(tmp_path):
    rng, arrays = np.random.default_rng(0), {}
    for name, count in (("train", 32), ("val", 16), ("test", 24)):
        labels = np.arange(count) % 4 == 0
        images = rng.normal(60, 15, (count, 50, 50))
        images[labels, 20:30, 20:30] += 90
        arrays |= {
            f"{name}_images": images.clip(0, 255).astype(np.uint8),
            f"{name}_labels": labels.astype(np.uint8),
            f"{name}_names": np.array([f"{name}_{n}.jpg" for n in range(count)]),
        }
    np.savez(tmp_path / nodules.FILE, **arrays)
    return tmp_path


def test_nodules_train_test_and_state_their_false_positives(patches, tmp_path):
    parts = {
        name: nodules.patch_examples(each) for name, each in nodules.read_patches(patches).items()
    }
    assert parts["train"].fields["image"].shape == (32, 1, 1, 50, 50)
    assert parts["train"].fields["lengths"].tolist() == [1] * 32
    study = nodules.nodule_study(
        parts, tmp_path, StudyResults(tmp_path / "r.json"), seeds=1, epochs=2
    )
    study.rates = (1e-3,)
    study.study.run()
    nodules.summarise_nodules(study, tmp_path)
    lines = study.results.get("pictures")
    assert "| arm | 1 % | 2 % | 5 % | 10 % |" in lines[1]
    assert "`hog`" in lines[1]
    truth = parts["test"].target.numpy()
    assert area_under_roc(truth, answer_of(study.results.runs["hog-0"])[0]) > 0.9
    assert (tmp_path / "images/diagnosis-nodules-froc.png").is_file()
    assert load_classifier(tmp_path / "nodules/bundle", "cpu").input.kind == "slices"
    with pytest.raises(UserError, match="could not be read as patches"):
        nodules.read_patches(tmp_path / "images")


# Records


@pytest.mark.slow
def test_neither_image_nor_record_alone_suffices_and_both_together_do(tmp_path):
    study = record_fusion_study.synthetic_study(
        tmp_path, StudyResults(tmp_path / "r.json"), seeds=1, epochs=6, cases=240
    )
    study.rates = (1e-2,)
    study.study.run("fusion,image,record-logistic")
    truth, runs = study.splits["test"].target.numpy(), study.results.runs
    auc = {
        name: area_under_roc(truth, answer_of(runs[f"{name}-0"])[0])
        for name in ("fusion", "image", "record-logistic")
    }
    assert auc["fusion"] > 0.95
    assert all(abs(auc[name] - 0.5) < 0.15 for name in ("image", "record-logistic"))
    missing = record_fusion_study.auc_with_missing(study)
    assert missing["nothing"] == [pytest.approx(auc["fusion"], abs=1e-3)]
    assert all(abs(missing[what][0] - 0.5) < 0.2 for what in ("the image", "the record"))
    assert missing["both"] == [0.5]
    record_fusion_study.summarise_records(study, ["a text"])
    assert "| nothing |" in study.results.get("pictures")[1]


def test_the_synthetic_class_is_in_neither_part():
    some = record_fusion_study.synthetic_examples(400, 5)
    image, number = some.fields["image"].float()[:, 0], some.fields["numbers"][:, 0]
    bright = image[:, 10:22, 10:22].mean((1, 2)) > 0
    assert torch.equal((bright == (number > 0)).long(), some.target)
    for alone in (bright.float(), number):
        assert abs(np.corrcoef(alone.numpy(), some.target.numpy())[0, 1]) < 0.12


def case(n, **columns):
    return ImageCase(str(n), Path("x.png"), n % 2, str(n), columns)


def test_a_record_is_planned_from_the_training_cases_and_bears_what_is_missing():
    cases = [case(0, age="40", sex="F"), case(1, age="60", sex="M"), case(2, age="", sex="F")]
    plan = plan_record(cases, ("age", "sex"))
    assert plan.numbers == ("age",)
    assert plan.means == (50.0,)
    assert plan.stds == (10.0,)
    assert plan.categories == {"sex": ("F", "M")}
    fields = record_fields([case(3, age="x", sex="other"), case(4, age="70", sex="M")], plan)
    assert fields["numbers"].isnan().tolist() == [[True], [False]]
    assert fields["categories"].tolist() == [[-1], [1]]
    assert np.isnan(number_of(""))
    assert number_of("3.5") == 3.5
    for columns, message in ((("weight",), "no column"), (("same",), "says the same")):
        with pytest.raises(UserError, match=message):
            plan_record([case(0, same="1"), case(1, same="1")], columns)


@pytest.mark.skipif(
    not (DATA / "nodule2d").is_dir(), reason="NOT TESTED: shared/data/nodule2d is not here"
)
def test_the_shared_patches():
    found = nodules.read_patches(DATA / "nodule2d")
    counts = {name: (len(each.labels), int(each.labels.sum())) for name, each in found.items()}
    assert counts == {
        "train": (5186, 845),
        "val": (1297, 224),
        "test": (1622, 282),
    }


@pytest.mark.skipif(not (DATA / "acdc").is_dir(), reason="NOT TESTED: shared/data/acdc is not here")
def test_a_shared_heart_contracts():
    heart = sequences._heart(DATA / "acdc", "patient002", "DCM")
    assert 0 < sequences.geometry(heart)[3] < 0.5
    assert heart.images[0].name == "patient002_frame01"
