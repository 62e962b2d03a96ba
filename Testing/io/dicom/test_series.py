"""A DICOM series is read as one even 3D grid, or refused in one sentence."""

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_series import write_series
from Testing.helpers.places import SAMPLES


def test_a_dicom_series_is_sorted_by_place_and_keeps_its_window(tmp_path):
    folder = write_series(tmp_path / "série", [30, 10, 20, 40])
    for path in (folder, folder / "IM0002.dcm"):
        volume = load_volume(path)
        assert volume.array.shape == (4, 9, 8)
        assert volume.array[:, 0, 0].tolist() == [10, 20, 30, 40]
        assert volume.spacing_mm == pytest.approx((10, 0.6, 0.5))
        np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], [20, 30, 10], atol=1e-6)
        assert volume.tags == {"window_center": 40, "window_width": 400}
    assert load_volume(folder).name == "série"


def test_the_example_series(request):
    folder = SAMPLES / "example_ct_dicom"
    if not folder.is_dir():
        pytest.skip(
            f"NOT TESTED: the DICOM example is not at {folder}; set MEDLLMSEG_DATA to the data"
            " folder"
        )
    volume = load_volume(folder)
    assert volume.array.shape == (20, 512, 512)
    assert volume.array.dtype == np.int16
    assert volume.spacing_mm == pytest.approx((2.0, 0.9765625, 0.9765625))
    assert volume.array.min() == -1024
    assert volume.tags["window_center"] == 40
    one = load_volume(sorted(folder.iterdir())[7])
    assert np.array_equal(one.array, volume.array)
    assert np.array_equal(one.ijk_to_ras, volume.ijk_to_ras)


@pytest.mark.parametrize(
    "depths, tilt, sentence",
    [
        ([0, 2, 4, 8, 10], 0, "missing or unevenly spaced slices"),
        ([0, 2, 4.5, 6, 8], 0, "missing or unevenly spaced slices"),
        ([0, 4, 6, 8, 10], 0, "missing or unevenly spaced slices"),
        ([0, 2, 2, 4], 0, "at the same place"),
        ([0, 2, 4, 6], 1.0, "tilted gantry"),
    ],
)
def test_a_series_that_is_no_even_grid_is_refused(tmp_path, depths, tilt, sentence):
    write_series(tmp_path, depths, tilt=tilt)
    with pytest.raises(UserError, match=sentence):
        load_volume(tmp_path)


def test_a_thousandth_of_a_slice_is_even(tmp_path):
    write_series(tmp_path, [0, 2.002, 3.998, 6])
    assert load_volume(tmp_path).array.shape[0] == 4


def test_two_series_in_one_folder(tmp_path):
    write_series(tmp_path, [1, 2, 3], description="T1 head")
    write_series(tmp_path, [5], uid="1.2.9", description="scout", start=50)
    assert load_volume(tmp_path).array[:, 0, 0].tolist() == [1, 2, 3]  # the other is a single image
    write_series(tmp_path, [4, 5, 6, 7], uid="1.2.4", description="T2 head", start=10)
    with pytest.raises(
        UserError,
        match=r'3 DICOM series: 1: "T1 head" \(3 slices\), 2: "T2 head" \(4 slices\), 3: "scout"',
    ):
        load_volume(tmp_path)
    assert load_volume(tmp_path / "IM0011.dcm").array[:, 0, 0].tolist() == [4, 5, 6, 7]
    write_series(tmp_path / "mixed", [1, 2, 3])
    write_series(tmp_path / "mixed", [4], size=(5, 5), start=10)
    with pytest.raises(UserError, match="different sizes"):
        load_volume(tmp_path / "mixed")


def test_a_damaged_slice_is_not_left_out_unseen(tmp_path):
    """Without the middle one of three, the other two would look like an even series."""
    write_series(tmp_path, [1, 2, 3])
    data = (tmp_path / "IM0001.dcm").read_bytes()
    (tmp_path / "IM0001.dcm").write_bytes(data[:-60])
    with pytest.raises(UserError, match=r"IM0001\.dcm.*damaged or cut short"):
        load_volume(tmp_path)


def test_other_objects_beside_the_slices_are_passed_over(tmp_path):
    write_series(tmp_path, [1, 2, 3])
    data = (tmp_path / "IM0001.dcm").read_bytes()[:-60]
    (tmp_path / "raw.dcm").write_bytes(
        data.replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.66")
    )
    assert load_volume(tmp_path).array[:, 0, 0].tolist() == [1, 2, 3]
