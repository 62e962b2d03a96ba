"""The figures of the brain model: what is measured, and that the tables tell right from wrong."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import Volume, save_volume
from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.studies import brain_figures, brain_scans
from MedLLMSegLib.studies.brain_figures import mixed_percent, run
from MedLLMSegLib.studies.brain_scans import CHANGES, in_thick_slices
from MedLLMSegLib.studies.brain_tables import deep_dice, tables, volume_table

SHAPE = (20, 25, 30)


def two_thalami():
    """Neuromorphometrics: 60 left and 59 right thalamus, 48 and 47 hippocampus; i to the right."""
    labels = np.zeros(SHAPE, np.int16)
    labels[5:15, 5:20, 3:12], labels[5:15, 5:20, 18:27] = 60, 59
    labels[2:5, 5:20, 3:12], labels[2:5, 5:20, 18:27] = 48, 47
    return labels


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "oasis_brains"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    labels = two_thalami()
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case", "subject"), ("a", "P1"), ("b", "P1"), ("c", "P2")])
    for case in "abc":
        save_volume(Volume(labels, np.eye(4), case), folder / "labels" / f"{case}.nii.gz")
        image = Volume(labels.astype(np.float32) * 10, np.eye(4), case)
        save_volume(image, folder / "images" / f"{case}.nii.gz")
    (tmp_path / "data" / "elderly_heads").mkdir()
    maps = tmp_path / "data" / "brain_labelmaps"
    maps.mkdir()
    (maps / "splits.json").write_text(json.dumps({"test": ["x"], "val": ["x"]}))
    return tmp_path / "data"


def perfect(scan, resolution_mm):
    """Reads the structure off the image, however it was changed, at 1 mm."""
    labels = two_thalami()
    numbers = np.zeros(61, np.uint8)
    numbers[[60, 59, 48, 47]] = 10, 49, 17, 53
    found = numbers[labels[tuple(slice(0, n) for n in fine_shape(scan))]]
    grid = replace(scan.with_array(found), ijk_to_ras=np.eye(4))
    return Segmentation(grid, brain_structures(), confidence={10: 0.9})


def fine_shape(scan):
    return [round(n * s) for n, s in zip(scan.array.shape, scan.spacing_mm, strict=True)]


def swapped(scan, resolution_mm):
    result = perfect(scan, resolution_mm)
    other = np.arange(256, dtype=np.uint8)
    other[[10, 49, 17, 53]] = 49, 10, 53, 17
    return replace(result, labels=result.labels.with_array(other[result.labels.array]))


def test_each_scan_is_measured_in_all_conditions_and_once(data, tmp_path):
    rows = run(data, tmp_path / "out", perfect, "w1", "oasis/*")
    assert len(rows) == 3 * (len(CHANGES) + 3)
    assert {row["mixed_percent"] for row in rows} == {0.0}
    assert all(deep_dice(row) == 1.0 for row in rows)

    def never(*_):
        raise AssertionError("measured again")

    assert run(data, tmp_path / "out", never, "w1", "oasis/*") == rows
    again = run(data, tmp_path / "out", swapped, "w2", "oasis/a/as it is")
    assert [row["weights"] for row in again] == ["w2"]  # other weights' rows do not count
    assert deep_dice(again[0]) == 0.0 and again[0]["mixed_percent"] == 100.0


def test_the_tables_tell_of_swapped_sides_and_of_people(data, tmp_path):
    good = tables(run(data, tmp_path / "good", perfect, "w1", "oasis/*"))
    bad = tables(run(data, tmp_path / "bad", swapped, "w1", "oasis/*"))
    sides = f"| {3 * (len(CHANGES) + 3)} | 0 | 0 | 0.00 |"
    assert sides in good and sides not in bad
    assert "| OASIS, by hand | 3 | 1.000 (1.000 to 1.000) |" in good
    assert "| thalamus | 0.000 (0.000 to 0.000) | no label |" in bad
    assert "| inverted | 1.000" in good and "| 5 mm along j | 1.000" in good
    assert "| two T1 scans of one person (OASIS) | 1 | 0.0 |" in good
    assert "| hippocampus | 0.0 (0.0 to 0.0) | 0.0 (0.0 to 0.0) | - |" in good


def test_volumes_of_synthetic_heads_stand_beside_those_by_hand(data, tmp_path):
    rows = run(data, tmp_path / "out", perfect, "w1", "oasis/*/as it is")
    own = {"person": "map", "scan": "synthetic/map/00", "dice": {}, "weights": "w1"}
    heads = [
        own | {"true_ml": {"17": 2.0, "53": 2.0}, "volumes_ml": {"17": 2.0, "53": more}}
        for more in (2.4, 2.8, 7.0)
    ]
    assert "| hippocampus | 0.0 (0.0 to 0.0) | 0.0 (0.0 to 0.0) | +20.0 |" in volume_table(
        [*rows, *heads]
    )


@pytest.mark.parametrize("axis", range(3))
def test_thick_slices_keep_their_place(axis):
    ramp = np.indices((10, 15, 20))[axis].astype(np.float32)
    matrix = np.diag([0.5, 1.0, 2.0, 1.0])
    matrix[:3, 3] = 7, 8, 9
    thick, labels = in_thick_slices(Volume(ramp, matrix, "ramp"), ramp.astype(np.uint8), axis)
    assert labels.shape == ramp.shape
    assert thick.array.shape[axis] == ramp.shape[axis] // 5
    assert np.moveaxis(thick.array, axis, 0)[1].ravel() == pytest.approx(7.0)  # of 5 to 9
    assert np.allclose(thick.grid.centre_ras(), Volume(ramp, matrix, "ramp").grid.centre_ras())
    assert thick.grid.extent_mm == pytest.approx(Volume(ramp, matrix, "ramp").grid.extent_mm)


def test_changes_of_an_image_keep_its_air_dark():
    values = np.array([[[0.0, 100.0, 500.0, 1000.0]]], np.float32)
    inverted = CHANGES["inverted"](values).ravel()
    assert inverted[0] == 0 and list(np.argsort(inverted[1:])) == [2, 1, 0]
    for name in ("gamma 0.5", "gamma 2"):
        changed = CHANGES[name](values).ravel()
        assert changed[0] == 0 and np.all(np.diff(changed) > 0)
    assert CHANGES["gamma 2"](values).ravel()[1] < 20 < CHANGES["gamma 0.5"](values).ravel()[1]


def test_sides_are_counted_where_the_structure_is_right():
    truth = np.array([10, 10, 49, 49, 17, 14])
    assert mixed_percent(np.array([10, 49, 49, 49, 0, 15]), truth) == pytest.approx(25.0)


def test_a_pattern_that_names_nothing_is_said(data, tmp_path):
    with pytest.raises(UserError, match='No scan is called "nothing"'):
        run(data, tmp_path / "out", perfect, "w1", "nothing")


def test_synthetic_heads_are_the_same_each_time_and_whole(tmp_path, monkeypatch):
    labels = np.zeros((40, 40, 40), np.int16)
    labels[10:30, 10:30, 5:20], labels[10:30, 10:30, 20:35] = 2, 41
    save_volume(Volume(labels, np.eye(4), "x"), tmp_path / "x.nii.gz")
    monkeypatch.setattr(brain_scans, "SYNTHETIC_SHAPE", (64, 64, 64))
    (image, truth), (again, _) = (brain_scans.synthetic_head(tmp_path, "x", 5) for _ in range(2))
    assert np.array_equal(image.array, again.array)
    left, right = (np.argwhere(truth == n)[:, 2].mean() for n in (2, 41))
    assert left < right  # i runs to the right
    assert not any(truth[face].any() for face in (0, -1))


def test_a_scan_that_is_refused_counts_as_nothing_found(data, tmp_path):
    def refuses(scan, resolution_mm):
        raise UserError("No brain was found.")

    rows = run(data, tmp_path / "out", refuses, "w1", "oasis/*/as it is")
    assert {row["refused"] for row in rows} == {"No brain was found."}
    text = tables(rows, {10: (0.0, 1.0)})
    assert "| OASIS, by hand | 3 | 0.000" in text
    assert "| hippocampus | 100.0 (100.0 to 100.0) | -100.0" in text
    with pytest.raises(UserError, match="too few"):
        brain_figures.calibration(rows)


def test_what_was_expected_is_compared_with_what_was_found(data, tmp_path):
    rows = run(data, tmp_path / "out", perfect, "w1", "oasis/*/as it is")
    text = tables(rows, {10: (0.0, 0.5), 49: (0.0, 1.0)})  # the confidence of 10 is 0.9
    assert "| OASIS, by hand, 12 deep structures | 3 | 0.450 | 1.000 | 0.550 |" in text
    assert "expected" not in tables(rows)


def test_what_a_confidence_is_worth_is_fitted_on_val_heads():
    rows = [
        {
            "scan": f"{part}/x/{n}",
            "confidence": {"17": 0.5 + n / 20, "53": 0.5 + n / 20, "14": float("nan")},
            "dice": {"17": 0.4 + n / 20, "53": 0.4 + n / 20, "14": 0.5, "2": 0.9},
        }
        for part in ("val", "oasis")
        for n in range(6)
    ]
    for row in rows[6:]:
        row["dice"] = dict.fromkeys(row["dice"], 0.0)  # what is to be measured must not count
    found = brain_figures.calibration(rows)
    assert set(found["dice_lines"]) == {17, 53}
    assert found["dice_lines"][53] == pytest.approx((-0.1, 1.0))
    assert found["dice_lines_images"] == 6
    with pytest.raises(UserError, match="too few"):
        brain_figures.calibration(rows[6:])
