"""The shipped heart model on a real scan of the val split: it asks for its licence first, and outlines what was drawn."""
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, load_model, segment
from MedLLMSegLib.catalogue import accept_licence

ACDC = Path(__file__).parents[2] / "shared/data/acdc"
SCAN = "patient006_frame01"  # of the val split: nothing is trained on it


def test_the_licence_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="CC-BY-NC-SA-4.0"):
        load_model("cardiac-cine-mr", "cpu")
    accept_licence("cardiac-cine-mr")
    model = load_model("cardiac-cine-mr", "cpu")
    assert [s.key for s in model.structures] == ["right_ventricle", "myocardium", "left_ventricle"]


@pytest.mark.skipif(not ACDC.is_dir(), reason=f"NOT TESTED: {ACDC} is absent")
def test_a_real_heart_is_outlined_whichever_way_it_is_stored(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="NOT TESTED: h5py is absent")
    from MedLLMSegLib.training.acdc import read_hdf5

    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path))
    accept_licence("cardiac-cine-mr")
    scan, truth = read_hdf5(ACDC / f"{SCAN}.h5")
    model = load_model("cardiac-cine-mr", "cpu")
    found = segment(scan, model).labels.array
    dice = [2 * np.sum((found == c) & (truth.array == c)) / np.sum((found == c).astype(int) + (truth.array == c)) for c in (1, 2, 3)]
    assert min(dice) > 0.7 and np.mean(dice) > 0.8, dice  # far above chance; the figures are on the card

    # The same scan with its axes in another order: (k, j, i) is stored as (j, i, k), and its rows run the other way.
    matrix = scan.ijk_to_ras[:, [2, 0, 1, 3]].copy()
    matrix[:, 3] += matrix[:, 2] * (scan.array.shape[1] - 1)
    matrix[:, 2] *= -1
    turned = Volume(np.ascontiguousarray(scan.array.transpose(1, 2, 0)[::-1]), matrix)
    again = segment(turned, model).labels.array[::-1].transpose(2, 0, 1)
    assert np.mean(again != found) < 1e-3
