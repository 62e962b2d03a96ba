"""Changed scans of the heart: each keeps image and labels together, and the table names all."""

import json

import numpy as np
import pytest

from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.studies import heart_domains
from MedLLMSegLib.studies.heart_changes import CHANGES, LOST, PLAIN, LabelledScan
from Testing.helpers.heart_phantom import SHAPE, heart_series

MOVED = [name for name in CHANGES if "stated" not in name]


def scan():
    images, labels = heart_series((20.0,))
    shown = labels.array[0].copy()
    shown[:1] = shown[-1:] = 0  # the heart ends within the stack
    image = np.where(shown > 0, images.array[0], 20).astype(np.float32)
    name = "anna"
    return LabelledScan(
        Volume(image, images.ijk_to_ras, name), Volume(shown, labels.ijk_to_ras, name)
    )


@pytest.mark.parametrize("name", CHANGES)
def test_image_and_labels_stay_on_one_grid(name):
    before, after = scan(), CHANGES[name](scan())
    assert after.image.array.shape == after.labels.array.shape
    assert np.allclose(after.image.ijk_to_ras, after.labels.ijk_to_ras)
    assert set(np.unique(after.labels.array)) == {0, 1, 2, 3}
    same = after.image.array.shape == before.image.array.shape and np.array_equal(
        after.image.array, before.image.array
    )
    headers_differ = not np.allclose(after.image.ijk_to_ras, before.image.ijk_to_ras)
    assert (same and not headers_differ) == (name == PLAIN)
    again = CHANGES[name](scan())
    assert np.array_equal(after.image.array, again.image.array)


def blood_is_bright(after):
    bright = [after.image.array[after.labels.array == value].mean() for value in (1, 2, 3)]
    return bright[1] < bright[0] and bright[1] < bright[2]


@pytest.mark.parametrize("name", MOVED)
def test_the_labels_lie_where_the_image_shows_them(name):
    assert blood_is_bright(CHANGES[name](scan()))


def test_sizes_are_those_that_the_names_say():
    before = scan().image
    for words, factor in (("0.7 times", 0.7), ("twice", 2.0)):
        after = CHANGES[f"pixels stated {words} as large"](scan()).image
        assert after.spacing_mm == pytest.approx((10, 1.5 * factor, 1.5 * factor))
        assert np.array_equal(after.array, before.array)
    after = CHANGES["slices of 13 mm"](scan()).image
    assert after.spacing_mm == pytest.approx((13, 1.5, 1.5))
    assert np.allclose(after.grid.centre_ras(), before.grid.centre_ras(), atol=1e-6)
    wrong = CHANGES["slices of 6 mm stated as 10 mm"](scan()).image
    assert wrong.spacing_mm == pytest.approx((10, 1.5, 1.5))
    assert len(wrong.array) > len(before.array)


def test_a_missing_base_takes_labelled_slices():
    base = CHANGES["base missing"](scan())
    assert (base.labels.array[0] > 0).any()
    assert len(base.labels.array) == SHAPE[0] - 1 - LOST


def test_a_row_for_each_change_and_their_mean():
    found = {
        "old": {PLAIN: [[0.8, 0.9, 1.0]], "clipped": [[0.2, 0.2, float("nan")], [0.2, 0.2, 0.2]]},
        "new": {PLAIN: [[0.9, 0.9, 0.9]], "clipped": [[0.6, 0.6, 0.6]] * 2},
    }
    lines = heart_domains.tables(found).splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert cells[2] == [PLAIN, "0.900", "0.900", "0.800", "0.900"]
    assert cells[3] == ["clipped", "0.200", "0.600", "0.200", "0.600"]
    assert cells[4][0] == "mean of the rows"
    assert float(cells[4][2]) == pytest.approx(0.75)


def test_a_pattern_without_a_change_is_one_sentence(tmp_path, capsys):
    arguments = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), "--only", "upside*"]
    assert heart_domains.main(arguments) == 2
    said = capsys.readouterr().err
    assert "upside*" in said
    assert said.count("\n") == 1


def test_it_goes_on_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "splits.json").write_text(json.dumps({"val": ["anna"]}), encoding="utf-8")
    monkeypatch.setattr(heart_domains, "patient_files", lambda data, patient: [patient] * 2)
    monkeypatch.setattr(heart_domains, "read_hdf5", lambda path: (scan().image, scan().labels))
    asked = []

    class Model:
        sha256 = "a" * 64

    class Found:
        labels = scan().labels

    def segment(image, model):
        asked.append(image)
        return Found

    monkeypatch.setattr(heart_domains, "segment", segment)
    changes = (PLAIN, "gamma 2.5")
    for _ in range(2):
        found = heart_domains.measure(tmp_path, tmp_path / "out", Model(), "val", changes)
    assert len(asked) == 2
    assert found == {name: [[1.0, 1.0, 1.0]] for name in changes}
