"""Grey pictures in PNG, JPEG and TIFF files."""

import numpy as np
import pytest

from MedLLMSegLib.io.radiograph import load_radiograph
from Testing.helpers.flat_images import GREY, RAMP, save


@pytest.mark.parametrize("name", ("x.png", "x.tif", "x.TIFF"))
def test_8_bit_pictures_are_taken_as_they_are(tmp_path, name):
    radiograph = load_radiograph(save(tmp_path / name, GREY))
    assert np.allclose(radiograph.array, GREY / 255, atol=1e-6)
    assert radiograph.notes == ()
    assert radiograph.view == ""


def test_jpeg_and_grey_stored_as_colour(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (64, 1))
    assert (
        np.abs(load_radiograph(save(tmp_path / "x.jpg", smooth)).array - smooth / 255).max() < 0.03
    )
    for name in ("y.jpg", "y.png"):
        colour = load_radiograph(save(tmp_path / name, np.stack([smooth] * 3, -1)))
        assert np.abs(colour.array - smooth / 255).max() < 0.03
        assert "stored in colour" in colour.notes[0]


@pytest.mark.parametrize("name", ("x.png", "x.tif"))
def test_16_bit_pictures_get_their_range_from_percentiles(tmp_path, name):
    radiograph = load_radiograph(save(tmp_path / name, RAMP.astype(np.uint16)))
    assert np.array_equal(radiograph.volume.array[0], RAMP)
    assert radiograph.array.max() == 1
    assert "percentile" in radiograph.notes[0]


@pytest.mark.parametrize("dtype", (np.uint8, np.uint16))
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path, dtype):
    black = load_radiograph(save(tmp_path / "b.tif", GREY.astype(dtype), photometric="minisblack"))
    white = load_radiograph(save(tmp_path / "w.tif", GREY.astype(dtype), photometric="miniswhite"))
    assert np.allclose(white.array, 1 - black.array, atol=1e-6)
