"""A flat X-ray from any file: shown as its tags say, refused in one sentence where it is none,
and there and back in space.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from MedLLMSegLib import UserError, Volume, save_volume
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.lung_masks import load_lung_mask, lung_mask_of
from MedLLMSegLib.io.radiograph import load_radiograph, radiograph_of
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.dicom_writer import write_dicom

DATA = Path(os.environ.get("MEDLLMSEG_DATA", Path(__file__).parents[3] / "shared/data"))
needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT TESTED: {DATA} is absent")
RAMP = np.arange(64 * 48).reshape(64, 48)  # 0 to 3071
GREY = (RAMP % 251).astype(np.uint8)


def linear(values, center, width):
    """DICOM PS3.3 C.11.2.1.2.1, written out."""
    out = np.empty(values.shape)
    for place, x in np.ndenumerate(values):
        if x <= center - 0.5 - (width - 1) / 2:
            out[place] = 0
        elif x > center - 0.5 + (width - 1) / 2:
            out[place] = 1
        else:
            out[place] = (x - (center - 0.5)) / (width - 1) + 0.5
    return out


# ---- windows ----


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
    assert (
        0 < (radiograph.array == 0).mean() < 1
        and 0 < (radiograph.array == 1).mean() < 1
        and radiograph.notes == ()
    )
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
    assert np.allclose(first.array, linear(RAMP, 500, 200), atol=1e-5) and np.allclose(
        second.array, linear(RAMP, 2000, 900), atol=1e-5
    )
    assert (
        "SOFT" in first.notes[0]
        and "number 1 was used" in first.notes[0]
        and "number 2 was used" in second.notes[0]
    )
    with pytest.raises(UserError, match="Window 3 was asked for.*has 2.*HARD"):
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


TABLE = np.sqrt(np.arange(3072) / 3071) * 4095


@pytest.mark.parametrize("explicit", (True, False))
@pytest.mark.parametrize("undefined", (True, False))
def test_a_voi_lut_is_used_where_there_is_no_window_and_can_be_chosen_where_there_is(
    tmp_path, explicit, undefined
):
    lut = {
        "LUTDescriptor": [2000, 500, 12],
        "LUTExplanation": "BONE",
        "LUTData": TABLE[:2000].astype("<u2"),
    }
    wanted = TABLE[:2000].astype("<u2")[np.clip(RAMP - 500, 0, 1999)] / 4095
    alone = write_dicom(
        tmp_path / "a.dcm", RAMP.astype(np.uint16), explicit, undefined, VOILUTSequence=[lut]
    )
    assert np.allclose(load_radiograph(alone).array, wanted, atol=1e-5)
    both = write_dicom(
        tmp_path / "b.dcm",
        RAMP.astype(np.uint16),
        explicit,
        undefined,
        VOILUTSequence=[lut],
        WindowCenter=1500,
        WindowWidth=1000,
    )
    assert np.allclose(load_radiograph(both).array, linear(RAMP, 1500, 1000), atol=1e-5)
    assert (
        np.allclose(load_radiograph(both, window=2).array, wanted, atol=1e-5)
        and "BONE" in load_radiograph(both).notes[0]
    )


def test_luts_of_8_bits_of_signed_values_and_of_the_modality(tmp_path):
    eight = {
        "LUTDescriptor": [256, 65536 - 100, 8],
        "LUTData": np.arange(255, -1, -1).astype(np.uint8),
    }
    path = write_dicom(
        tmp_path / "a.dcm", (RAMP % 256 - 100).astype(np.int16), VOILUTSequence=[eight]
    )
    assert np.allclose(load_radiograph(path).array, (255 - RAMP % 256) / 255, atol=1e-5)
    modality = {"LUTDescriptor": [3072, 0, 16], "LUTData": (RAMP.ravel() // 2 + 7).astype("<u2")}
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        path = write_dicom(
            tmp_path / "b.dcm",
            RAMP.astype(np.uint16),
            ModalityLUTSequence=[modality],
            WindowCenter=700,
            WindowWidth=900,
            PhotometricInterpretation=kind,
        )
        wanted = linear(RAMP // 2 + 7, 700, 900)
        assert np.allclose(
            load_radiograph(path).array, wanted if kind == "MONOCHROME2" else 1 - wanted, atol=1e-5
        )


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
    assert any("not valid" in note for note in notes) and any(
        "percentile" in note for note in notes
    )


def test_without_a_window_percentiles_are_used_and_a_note_says_so(tmp_path):
    pixels = RAMP.astype(np.uint16)
    pixels[0, :3] = 60000  # a marker of lead
    radiograph = load_radiograph(write_dicom(tmp_path / "x.dcm", pixels))
    low, high = np.percentile(pixels, (0.5, 99.5))
    assert np.allclose(radiograph.array, np.clip((pixels - low) / (high - low), 0, 1), atol=1e-4)
    assert (
        len(radiograph.notes) == 1
        and "no window" in radiograph.notes[0]
        and "percentile" in radiograph.notes[0]
    )


def test_pixels_of_padding_are_black_and_do_not_count(tmp_path):
    pixels = RAMP.astype(np.uint16) + 1000
    pixels[:, :20] = 60000
    radiograph = load_radiograph(write_dicom(tmp_path / "x.dcm", pixels, PixelPaddingValue=60000))
    assert (
        (radiograph.array[:, :20] == 0).all()
        and radiograph.array[:, 20:].max() == 1
        and radiograph.array[:, 20:].mean() > 0.4
    )


# ---- what the tags tell of the view ----


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


# ---- pictures and volumes ----


def save(path, array, **more):
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array, **more)
    else:
        Image.fromarray(array).save(path, **more)
    return path


@pytest.mark.parametrize("name", ("x.png", "x.tif", "x.TIFF"))
def test_8_bit_pictures_are_taken_as_they_are(tmp_path, name):
    radiograph = load_radiograph(save(tmp_path / name, GREY))
    assert (
        np.allclose(radiograph.array, GREY / 255, atol=1e-6)
        and radiograph.notes == ()
        and radiograph.view == ""
    )


def test_jpeg_and_grey_stored_as_colour(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (64, 1))
    assert (
        np.abs(load_radiograph(save(tmp_path / "x.jpg", smooth)).array - smooth / 255).max() < 0.03
    )
    for name in ("y.jpg", "y.png"):
        colour = load_radiograph(save(tmp_path / name, np.stack([smooth] * 3, -1)))
        assert (
            np.abs(colour.array - smooth / 255).max() < 0.03
            and "stored in colour" in colour.notes[0]
        )


@pytest.mark.parametrize("name", ("x.png", "x.tif"))
def test_16_bit_pictures_get_their_range_from_percentiles(tmp_path, name):
    radiograph = load_radiograph(save(tmp_path / name, RAMP.astype(np.uint16)))
    assert (
        np.array_equal(radiograph.volume.array[0], RAMP)
        and radiograph.array.max() == 1
        and "percentile" in radiograph.notes[0]
    )


@pytest.mark.parametrize("dtype", (np.uint8, np.uint16))
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path, dtype):
    black = load_radiograph(save(tmp_path / "b.tif", GREY.astype(dtype), photometric="minisblack"))
    white = load_radiograph(save(tmp_path / "w.tif", GREY.astype(dtype), photometric="miniswhite"))
    assert np.allclose(white.array, 1 - black.array, atol=1e-6)


@pytest.mark.parametrize("suffix", (".nrrd", ".nii.gz", ".mha"))
def test_a_volume_of_one_slice_is_the_same_image(tmp_path, suffix):
    path = write_dicom(tmp_path / "x.dcm", RAMP.astype(np.uint16), ImagerPixelSpacing=[0.2, 0.2])
    dicom = load_radiograph(path)
    save_volume(dicom.volume, tmp_path / f"x{suffix}")
    volume = load_radiograph(tmp_path / f"x{suffix}")
    assert np.allclose(volume.array, dicom.array, atol=1e-5) and volume.volume.spacing_mm[
        1:
    ] == pytest.approx((0.2, 0.2))


def test_a_volume_from_slicer_brings_its_window_and_direction_of_grey():
    volume = Volume(
        RAMP[None].astype(np.int16),
        np.diag([-1.0, -1, 1, 1]),
        "node",
        {"window_center": 1500.0, "window_width": 1000.0},
    )
    assert np.allclose(radiograph_of(volume).array, linear(RAMP, 1500, 1000), atol=1e-5)
    turned = Volume(volume.array, volume.ijk_to_ras, "node", {**volume.tags, "inverted": 1.0})
    assert np.allclose(radiograph_of(turned).array, 1 - linear(RAMP, 1500, 1000), atol=1e-5)
    colour = radiograph_of(
        Volume(np.stack([volume.array] * 3), volume.ijk_to_ras, "node", volume.tags)
    )
    assert (
        np.array_equal(colour.array, radiograph_of(volume).array)
        and "stored in colour" in colour.notes[0]
    )
    with pytest.raises(UserError, match="a colour image"):
        radiograph_of(
            Volume(
                np.stack([volume.array, volume.array, 0 * volume.array]),
                volume.ijk_to_ras,
                "node",
                volume.tags,
            )
        )
    other = Volume(RAMP[:, None].astype(np.int16), np.diag([0.2, 5, 0.3, 1]), "coronal")
    assert radiograph_of(other).array.shape == RAMP.shape


@needs_shared
def test_real_radiographs():
    one, two = (load_radiograph(DATA / f"samples/cxr_monochrome{n}.dcm") for n in ("", "2"))
    assert np.allclose(
        one.array, 1 - two.array, atol=1e-6
    )  # the same stored values, once called MONOCHROME1 and once 2
    assert (two.view, two.modality, two.body_part) == (
        "PA",
        "CR",
        "CHEST",
    ) and "no window" in two.notes[0]
    assert (
        two.array[300:600, 490:530].mean() > two.array[300:600, 250:350].mean() + 0.1
    )  # the spine is brighter than a lung
    nih = load_radiograph(next(iter(sorted((DATA / "cxr/images").iterdir()))))
    assert nih.array.shape == (256, 256) and nih.notes == ()


# ---- bad input ----


def text(path, content="this is no image"):
    path.write_text(content)
    return path


def volume(path, array, colours=False):
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=colours), str(path))
    return path


def colours(path):
    rng = np.random.default_rng(0)
    return save(path, rng.integers(0, 255, (64, 48, 3)).astype(np.uint8))


def keep(path, count):
    path.write_bytes(path.read_bytes()[:count])
    return path


def cut(path):
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    return path


BAD = {
    "missing": (lambda p: p / "gone.png", "no file"),
    "folder": (lambda p: p, "is a folder"),
    "empty picture": (lambda p: text(p / "x.png", ""), "empty"),
    "empty DICOM": (lambda p: text(p / "x.dcm", ""), "empty"),
    "text called PNG": (lambda p: text(p / "x.png"), "named like a PNG file"),
    "text called TIFF": (lambda p: text(p / "x.tif"), "named like a TIFF file"),
    "another format": (lambda p: text(p / "x.docx"), "not an image that can be read"),
    "video": (lambda p: text(p / "x.mp4"), "video"),
    "animation": (lambda p: text(p / "x.gif"), "video or animation"),
    "colour PNG": (lambda p: colours(p / "x.png"), "colour image"),
    "colour JPEG": (lambda p: colours(p / "x.jpg"), "colour image"),
    "colour DICOM": (
        lambda p: write_dicom(
            p / "x.dcm", np.random.default_rng(0).integers(0, 255, (64, 48, 3)).astype(np.uint8)
        ),
        "colour image",
    ),
    "transparent": (lambda p: save(p / "x.png", np.stack([GREY, GREY], -1)), "transparent"),
    "partly transparent colour": (
        lambda p: save(p / "x.png", np.stack([GREY] * 4, -1)),
        "transparent",
    ),
    "1 bit PNG": (lambda p: save(p / "x.png", GREY > 100), "1 bit"),
    "a mask": (lambda p: save(p / "x.png", (GREY > 100).astype(np.uint8)), "two grey values only"),
    "32 bit TIFF": (lambda p: save(p / "x.tif", GREY.astype(np.uint32)), "32-bit unsigned integer"),
    "TIFF of fractions": (lambda p: save(p / "x.tif", GREY.astype(np.float32)), "32-bit float"),
    "TIFF of several pages": (
        lambda p: save(p / "x.tif", np.stack([GREY] * 3), photometric="minisblack"),
        "holds 3 images",
    ),
    "multi-frame DICOM": (lambda p: write_dicom(p / "x.dcm", np.stack([GREY] * 5)), "5 frames"),
    "video DICOM": (
        lambda p: write_dicom(p / "x.dcm", GREY, syntax="1.2.840.10008.1.2.4.102"),
        "is a video",
    ),
    "cut DICOM": (lambda p: cut(write_dicom(p / "x.dcm", GREY)), "x.dcm"),
    "DICOM cut in its header": (lambda p: keep(write_dicom(p / "x.dcm", GREY), 152), "x.dcm"),
    "cut PNG": (lambda p: cut(save(p / "x.png", GREY)), "x.png"),
    "icon": (lambda p: save(p / "x.png", GREY[:16, :16]), "16 x 16 pixels"),
    "constant": (lambda p: save(p / "x.png", GREY * 0 + 7), "same value (7)"),
    "window beside the values": (
        lambda p: write_dicom(p / "x.dcm", GREY, WindowCenter=9000, WindowWidth=10),
        "shows nothing in its window",
    ),
    "3D volume": (
        lambda p: volume(
            p / "x.nii.gz", np.random.default_rng(0).normal(0, 1, (40, 48, 64)).astype(np.float32)
        ),
        "3D scan (64 x 48 x 40 voxels)",
    ),
    "4D volume": (
        lambda p: volume(
            p / "x.nii.gz", np.random.default_rng(0).normal(0, 1, (3, 2, 48, 64)).astype(np.float32)
        ),
        "series of 3",
    ),
    "CT slice without tags": (
        lambda p: volume(p / "x.nrrd", (RAMP[None] - 1024).astype(np.int16)),
        "Hounsfield",
    ),
    "colour volume": (
        lambda p: volume(p / "x.nrrd", np.stack([GREY] * 3, -1)[None], True),
        "3 values in each voxel",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_radiograph_is_refused_in_one_sentence(name, tmp_path):
    make, words = BAD[name]
    path = make(tmp_path)
    with pytest.raises(UserError) as caught:
        load_radiograph(path)
    message = str(caught.value)
    assert words in message and message.endswith(".") and ". " not in message, message


def test_windows_belong_to_dicom(tmp_path):
    for path in (save(tmp_path / "x.png", GREY), volume(tmp_path / "x.nrrd", GREY[None])):
        with pytest.raises(UserError, match="no windows to choose from"):
            load_radiograph(path, window=1)


# ---- preparation ----


def blob(height, width, row, column, spacing=(1.0, 1.0)):
    rows, columns = np.mgrid[:height, :width]
    array = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 200).astype(np.float32)
    matrix = np.diag([-spacing[1], -spacing[0], 1.0, 1.0])
    return radiograph_of(
        Volume(
            (array * 1000)[None], matrix, "blob", {"window_center": 500.0, "window_width": 1000.0}
        )
    )


@pytest.mark.parametrize(
    "shape, spacing",
    (
        ((300, 200), (1, 1)),
        ((200, 300), (1, 1)),
        ((300, 200), (0.2, 0.4)),
        ((50, 40), (1, 1)),
        ((900, 700), (0.143, 0.143)),
    ),
)
def test_the_square_and_back(shape, spacing):
    """A bright spot lies where it should on the square, and a map of it comes back to its pixel."""
    row, column = 0.7 * shape[0], 0.3 * shape[1]
    radiograph = blob(*shape, row, column, spacing)
    array, box = prepare_radiograph(radiograph, PreparationConfig(size=96))
    assert array.shape == (1, 96, 96) and array.dtype == np.float32
    place = np.array(np.unravel_index(array[0].argmax(), (96, 96)))
    size_mm = np.array(shape) * spacing
    wanted = ((np.array([row, column]) + 0.5) * spacing - size_mm / 2) / size_mm.max() * 96 + 47.5
    assert np.abs(place - wanted).max() <= 1.01
    back = box.to_image(array[0])
    found = np.array(np.unravel_index(back.argmax(), shape))
    assert (
        back.shape == shape
        and np.abs((found - [row, column]) * spacing).max() <= 1.5 * size_mm.max() / 96
    )
    coarse = np.zeros((6, 6))
    coarse[tuple((place // 16).astype(int))] = 1  # as a heat map of few cells
    spot = np.array(np.unravel_index(box.to_image(coarse).argmax(), shape))
    assert np.abs((spot - [row, column]) * spacing).max() <= 0.75 * size_mm.max() / 6 + 1


def test_each_image_is_normalised_and_what_is_beyond_it_is_zero():
    radiograph = blob(120, 60, 50, 30)
    array, box = prepare_radiograph(radiograph, PreparationConfig(size=60))
    assert (
        (array[0, :, :15] == 0).all()
        and (array[0, :, 45:] == 0).all()
        and (array[0, :, 15:45] != 0).all()
    )
    assert abs(array[0, :, 15:45].mean()) < 1e-5 and abs(array[0, :, 15:45].std() - 1) < 1e-4
    fixed, _ = prepare_radiograph(
        radiograph, PreparationConfig(size=60, normalise="fixed", mean=0.5, std=0.5)
    )
    assert fixed.min() == pytest.approx(-1, abs=1e-3) and (fixed[0, :, :15] == 0).all()


def test_lungs_are_cropped_to_with_a_margin_and_maps_stay_within():
    radiograph = blob(120, 60, 50, 30)
    lungs = np.zeros((120, 60), bool)
    lungs[40:60, 10:20] = lungs[40:80, 40:50] = True
    array, box = prepare_radiograph(radiograph, PreparationConfig(size=64, margin=0.1), lungs)
    assert box.rows == (36, 84) and box.columns == (6, 54)
    back = box.to_image(np.ones((7, 7)))
    assert (back[36:84, 6:54] == 1).all() and back.sum() == 48 * 48
    whole, box = prepare_radiograph(radiograph, PreparationConfig(size=64, crop="none"), lungs)
    assert box.rows == (0, 120) and box.columns == (0, 60)
    assert prepare_radiograph(radiograph, PreparationConfig(size=64))[1].rows == (0, 120)


def test_a_lung_mask_from_a_file_must_fit(tmp_path):
    radiograph = blob(64, 48, 30, 20)
    lungs = np.zeros((64, 48), np.uint8)
    lungs[20:30, 10:30] = 2
    for path in (save(tmp_path / "m.png", lungs), volume(tmp_path / "m.nrrd", lungs[None])):
        assert np.array_equal(load_lung_mask(path, radiograph), lungs > 0)
    for array, words in (
        (lungs.T, "48 x 64"),
        (lungs * 0, "is empty"),
        (np.stack([lungs] * 2), "48 x 64 x 2"),
    ):
        with pytest.raises(UserError, match=words if words != "48 x 64" else "64 x 48 pixels"):
            lung_mask_of(array, radiograph)
