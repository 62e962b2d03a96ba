"""The shipped heart model on a real scan of the val split: it asks for its licence first, and
outlines what was drawn.
"""

from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume, load_model, save_volume, segment
from MedLLMSegLib.registry.catalogue import BUNDLES
from MedLLMSegLib.registry.licences import accept_licence
from Testing.helpers.monai_runs import assert_same, by_monai, by_us

ACDC = Path(__file__).parents[3] / "shared/data/acdc"
SCAN = "patient006_frame01"  # of the val split: nothing is trained on it


def test_the_licence_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"CC-BY-NC-SA-4\.0"):
        load_model("cardiac-cine-mr", "cpu")
    accept_licence("cardiac-cine-mr")
    model = load_model("cardiac-cine-mr", "cpu")
    assert [s.key for s in model.structures] == ["right_ventricle", "myocardium", "left_ventricle"]


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A scan of the val split, with its truth; the licence is accepted."""
    pytest.importorskip("h5py", reason="NOT TESTED: h5py is absent")
    from MedLLMSegLib.data.acdc import read_hdf5

    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    accept_licence("cardiac-cine-mr")
    return read_hdf5(ACDC / f"{SCAN}.h5")


needs_acdc = pytest.mark.skipif(not ACDC.is_dir(), reason=f"NOT TESTED: {ACDC} is absent")


@pytest.mark.slow
@needs_acdc
# MONAI warns at each run that it evaluates the file.
@pytest.mark.filterwarnings("ignore:parsing config_file")
def test_monais_runner_gives_the_same_label_map(real, tmp_path):
    path = save_volume(real[0], tmp_path / "heart.nii.gz")
    bundle = BUNDLES / "cardiac-cine-mr"
    ours = by_us(bundle, path, tmp_path / "ours.nii.gz")
    assert_same(by_monai(bundle, path, tmp_path), ours)
    assert set(np.unique(ours.array)) == {0, 1, 2, 3}


def dice(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


@pytest.mark.slow
@needs_acdc
def test_a_real_heart_is_outlined_whichever_way_it_is_stored(real):
    scan, truth = real
    model = load_model("cardiac-cine-mr", "cpu")
    found = segment(scan, model).labels.array
    scores = [dice(found == c, truth.array == c) for c in (1, 2, 3)]
    assert min(scores) > 0.7, scores  # far above chance; the figures are on the card
    assert np.mean(scores) > 0.8, scores

    # The same scan with its axes in another order: (k, j, i) is stored as (j, i, k), and its rows
    # run the other way.
    matrix = scan.ijk_to_ras[:, [2, 0, 1, 3]].copy()
    matrix[:, 3] += matrix[:, 2] * (scan.array.shape[1] - 1)
    matrix[:, 2] *= -1
    turned = Volume(np.ascontiguousarray(scan.array.transpose(1, 2, 0)[::-1]), matrix)
    again = segment(turned, model).labels.array[::-1].transpose(2, 0, 1)
    assert np.mean(again != found) < 1e-3
