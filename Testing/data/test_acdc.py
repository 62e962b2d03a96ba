"""ACDC's HDF5 files become a folder that training reads, with images and labels in one place."""

import json
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="NOT TESTED: h5py is not installed")

from MedLLMSegLib import load_volume
from MedLLMSegLib.data import read_cases, read_label_map, split_cases
from MedLLMSegLib.data.acdc import main

ACDC = Path(__file__).parents[3] / "shared/data/acdc"


@pytest.fixture
def hdf5(tmp_path):
    """Two frames of each of three patients: 6 slices of 20 x 24 pixels."""
    folder, rng = tmp_path / "h5", np.random.default_rng(0)
    folder.mkdir()
    for patient in (1, 2, 3):
        for frame in (1, 12):
            with h5py.File(folder / f"patient{patient:03}_frame{frame:02}.h5", "w") as file:
                file["image"] = rng.random((6, 20, 24), np.float32)
                file["label"] = rng.integers(0, 4, (6, 20, 24)).astype(np.uint8)
    (folder / "splits.json").write_text(
        json.dumps(
            {
                "groups": {"patient001": "NOR"},
                "train": ["patient001", "patient009"],
                "val": ["patient002"],
                "test": ["patient003"],
            }
        )
    )
    return folder


def test_frames_become_cases_of_their_patients(hdf5, tmp_path, capsys):
    assert main(["--data", str(hdf5), "--output", str(tmp_path / "out")]) == 0
    assert "6 cases" in capsys.readouterr().out
    found = read_cases(tmp_path / "out")
    assert found.labels == {
        1: "Right ventricle",
        2: "Left ventricle (myocardium)",
        3: "Left ventricle (cavity)",
    }
    parts = split_cases(found)  # patient009 is not here, and is left out of the splits
    assert {c.group for c in parts["train"]} == {"patient001"}
    assert len(parts["train"]) == len(parts["test"]) == 2
    image = load_volume(found.cases[1].image)
    with h5py.File(hdf5 / "patient001_frame12.h5") as file:
        np.testing.assert_array_equal(image.array, file["image"])
        np.testing.assert_array_equal(read_label_map(found.cases[1], found, image), file["label"])
    assert image.spacing_mm == pytest.approx((10, 1.5, 1.5))
    # the first column is the patient's right, the first row anterior, the first slice the heart's
    # base
    np.testing.assert_allclose(image.ijk_to_ras, np.diag([-1.5, -1.5, -10, 1]), atol=1e-6)


def test_what_is_not_acdc_is_one_sentence(hdf5, tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "no files called patientNNN_frameNN.h5" in capsys.readouterr().err
    (hdf5 / "patient002_frame01.h5").write_bytes(b"half a download")
    assert main(["--data", str(hdf5), "--output", str(tmp_path / "out")]) == 2
    assert 'patient002_frame01.h5" could not be read' in capsys.readouterr().err


@pytest.mark.skipif(not ACDC.is_dir(), reason="NOT TESTED: shared/data/acdc is not here")
def test_slices_run_along_the_first_axis():
    """The left ventricle is round in a slice, and becomes smaller from the first slices to the
    last.
    """
    with h5py.File(ACDC / "patient002_frame01.h5") as file:
        ventricle = file["label"][:] == 3
    area = ventricle.sum((1, 2))
    assert len(area) == 10
    assert area[1] > 5 * area[-1]
    extent = np.ptp(np.argwhere(ventricle[2]), axis=0)
    assert abs(extent[0] - extent[1]) <= 0.2 * extent.max()
