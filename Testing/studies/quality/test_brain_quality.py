"""The whole brain's quality comes from rows that are measured anyway."""

import json

import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.metrics.label_shape import Shape
from MedLLMSegLib.segmentation.quality.norms import learn_norms
from MedLLMSegLib.studies.quality import brain
from MedLLMSegLib.studies.quality.brain import brain_norms, brain_points, corruption_of, counted


@pytest.fixture
def norms():
    """Of one training brain whose hippocampi have 4 mL."""
    shape = Shape(4.0, (40.0, 15.0, 12.0), (0.0, 0.0, 0.0), 2000.0, 1.0, 0.0)
    return learn_norms([({17: shape, 53: shape}, brain_structures())])


def test_norms_are_learnt_again_from_other_label_maps(tmp_path, norms, monkeypatch):
    maps, learnt = tmp_path / "brain_labelmaps", []
    maps.mkdir()
    (maps / "splits.json").write_text(json.dumps({"train": ["a"], "val": ["b"]}))
    (maps / "a.nii.gz").write_text("a map")
    monkeypatch.setattr(brain, "learn_norms", lambda _cases: learnt.append(1) or norms)
    for _ in range(2):
        found = brain_norms(tmp_path, tmp_path, Progress.of(None))
        assert found.to_dict() == norms.to_dict()
    assert len(learnt) == 1
    (maps / "a.nii.gz").write_text("another map")
    brain_norms(tmp_path, tmp_path, Progress.of(None))
    assert len(learnt) == 2


def row(scan, **more):
    return {"scan": scan, "person": "p", "volumes_ml": {"17": 2.0, "10": 8.0}, "confidence":
            {"17": 0.8, "10": 0.9, "53": None}, "dice": {"17": 0.7, "53": 0.0, "10": 0.9},
            "true_ml": {"17": 4.0, "53": 4.0}} | more  # fmt: skip


def test_both_sides_are_points_of_one_structure_and_a_missing_one_counts(norms):
    left, right = sorted(brain_points([row("oasis/a/as it is")], norms), key=lambda p: -p.dice)
    assert left.key == right.key == "hippocampus"
    assert (left.found_ml, left.true_ml, left.confidence) == (2.0, 4.0, 0.8)
    assert left.features["small"] > 1
    assert left.features["missing"] == pytest.approx(30 / 32)
    assert right.features is None
    assert right.confidence == 0


def test_refused_scans_and_scans_without_labels_have_no_points_and_are_counted(norms):
    rows = [row("val/01/00", refused="No brain."), {**row("elderly/x/T1"), "dice": {}}]
    assert brain_points(rows, norms) == []
    assert counted(rows) == {"scans": 2, "persons": 1, "refused": 1}


def test_another_condition_is_a_corruption_that_no_fit_has_seen():
    assert not corruption_of("oasis/a/as it is").kind
    assert not corruption_of("synthetic/07/03").kind
    assert corruption_of("oasis/a/gamma 2").is_new
