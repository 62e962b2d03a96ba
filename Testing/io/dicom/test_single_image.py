"""A DICOM radiograph is shown as its tags say: windows, look-up tables, padding and view."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.io.radiograph import load_radiograph
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.flat_images import RAMP, linear


@pytest.mark.parametrize("dtype, bits", ((np.uint16, 12), (np.uint16, 16), (np.int16, 16)))
@pytest.mark.parametrize("kind", ("MONOCHROME1", "MONOCHROME2"))
def test_the_window_counts_in_rescaled_values_and_monochrome1_is_turned_round(
    tmp_path, dtype, bits, kind
):
    path = write_dicom(
        tmp_path / "x.dcm",
        RAMP.astype(dtype),
        PhotometricInterpretation=kind,
        BitsStored=bits,
        HighBit=bits - 1,
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=1500,
        WindowWidth=1000,
    )
    radiograph = load_radiograph(path)
    wanted = linear(RAMP * 2 - 100, 1500, 1000)
    assert np.allclose(radiograph.array, wanted if kind == "MONOCHROME2" else 1 - wanted, atol=1e-5)
    assert 0 < (radiograph.array == 0).mean() < 1
    assert 0 < (radiograph.array == 1).mean() < 1
    assert radiograph.notes == ()
    assert np.array_equal(radiograph.volume.array[0], RAMP * 2 - 100)


def test_of_several_windows_the_first_is_used_and_another_can_be_chosen(tmp_path):
    path = write_dicom(
        tmp_path / "x.dcm",
        RAMP.astype(np.uint16),
        WindowCenter=[500, 2000],
        WindowWidth=[200, 900],
        WindowExplanation=["SOFT", "HARD"],
    )
    first, second = load_radiograph(path), load_radiograph(path, window=2)
    assert np.allclose(first.array, linear(RAMP, 500, 200), atol=1e-5)
    assert np.allclose(second.array, linear(RAMP, 2000, 900), atol=1e-5)
    assert "SOFT" in first.notes[0]
    assert "number 1 was used" in first.notes[0]
    assert "number 2 was used" in second.notes[0]
    with pytest.raises(UserError, match=r"Window 3 was asked for.*has 2.*HARD"):
        load_radiograph(path, window=3)
    with pytest.raises(UserError, match="Window 0"):
        load_radiograph(path, window=0)


@pytest.mark.parametrize(
    "function, wanted",
    (
        ("LINEAR_EXACT", lambda x: np.clip((x - 1500) / 1000 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 1500) / 1000))),
    ),
)
def test_the_other_functions_of_a_window(tmp_path, function, wanted):
    path = write_dicom(
        tmp_path / "x.dcm",
        RAMP.astype(np.uint16),
        WindowCenter=1500,
        WindowWidth=1000,
        VOILUTFunction=function,
    )
    assert np.allclose(load_radiograph(path).array, wanted(RAMP), atol=1e-5)


def test_a_damaged_lut_or_window_is_left_out(tmp_path):
    short = {"LUTDescriptor": [3000, 0, 12], "LUTData": np.arange(20, dtype="<u2")}
    path = write_dicom(
        tmp_path / "a.dcm",
        RAMP.astype(np.uint16),
        VOILUTSequence=[short],
        WindowCenter=["x"],
        WindowWidth=[0],
    )
    notes = load_radiograph(path).notes
    assert any("not valid" in note for note in notes)
    assert any("percentile" in note for note in notes)


def test_without_a_window_percentiles_are_used_and_a_note_says_so(tmp_path):
    pixels = RAMP.astype(np.uint16)
    pixels[0, :3] = 60000  # a marker of lead
    radiograph = load_radiograph(write_dicom(tmp_path / "x.dcm", pixels))
    low, high = np.percentile(pixels, (0.5, 99.5))
    assert np.allclose(radiograph.array, np.clip((pixels - low) / (high - low), 0, 1), atol=1e-4)
    assert len(radiograph.notes) == 1
    assert "no window" in radiograph.notes[0]
    assert "percentile" in radiograph.notes[0]


def test_pixels_of_padding_are_black_and_do_not_count(tmp_path):
    pixels = RAMP.astype(np.uint16) + 1000
    pixels[:, :20] = 60000
    radiograph = load_radiograph(write_dicom(tmp_path / "x.dcm", pixels, PixelPaddingValue=60000))
    assert (radiograph.array[:, :20] == 0).all()
    assert radiograph.array[:, 20:].max() == 1
    assert radiograph.array[:, 20:].mean() > 0.4


@pytest.mark.parametrize("explicit", (True, False))
@pytest.mark.parametrize("dtype", (np.uint16, np.int16))
@pytest.mark.parametrize("ends", ((4000, 4095), (4095, 4000)))
def test_a_range_of_padding_is_black_in_stored_values(tmp_path, dtype, explicit, ends):
    sign = -1 if dtype is np.int16 else 1
    pixels = RAMP.astype(dtype)
    pixels[:, :20], pixels[:, 20:25] = sign * 4000, sign * 4050
    first, last = (np.array([sign * end for end in ends], np.int32) & 0xFFFF).tolist()
    path = write_dicom(
        tmp_path / "x.dcm",
        pixels,
        explicit,
        PixelPaddingValue=first,
        PixelPaddingRangeLimit=last,
        RescaleSlope=2,
        RescaleIntercept=-7,
    )
    radiograph = load_radiograph(path)
    assert (radiograph.array[:, :25] == 0).all()
    assert radiograph.array[:, 25:].max() == 1
    assert (radiograph.array[:, 25:] > 0).mean() > 0.95


@pytest.mark.parametrize(
    "tags, pixel_mm",
    (
        ({"PixelSpacing": [0.3, 0.6]}, (0.6, 0.3)),
        ({"ImagerPixelSpacing": [0.3, 0.6]}, (0.6, 0.3)),
        ({"PixelSpacing": [0.2, 0.25], "ImagerPixelSpacing": [0.3, 0.3]}, (0.25, 0.2)),
        ({"PixelAspectRatio": [3, 4]}, (1.0, 0.75)),
        ({}, (1.0, 1.0)),
    ),
)
def test_the_size_of_a_pixel_along_columns_and_rows(tmp_path, tags, pixel_mm):
    path = write_dicom(tmp_path / "x.dcm", RAMP.astype(np.uint16), **tags)
    assert load_radiograph(path).pixel_mm == pytest.approx(pixel_mm)


@pytest.mark.parametrize(
    "tags, view",
    (
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "RL"}, "lateral"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"ViewPosition": "LLD"}, ""),
        ({"PatientOrientation": ["A", "F"]}, "lateral"),
        ({"PatientOrientation": ["L", "F"]}, ""),
        ({"SeriesDescription": "Chest LAT"}, "lateral"),
        ({"SeriesDescription": "Thorax pa"}, "PA"),
        ({"SeriesDescription": "PA and lateral"}, "lateral"),
        ({"SeriesDescription": "flat plate"}, ""),
        ({}, ""),
    ),
)
def test_the_view(tmp_path, tags, view):
    assert (
        load_radiograph(write_dicom(tmp_path / "x.dcm", RAMP.astype(np.uint16), **tags)).view
        == view
    )


def test_modality_and_body_part(tmp_path):
    radiograph = load_radiograph(
        write_dicom(
            tmp_path / "x.dcm", RAMP.astype(np.uint16), Modality="DX", BodyPartExamined="CHEST"
        )
    )
    assert (radiograph.modality, radiograph.body_part) == ("DX", "CHEST")
