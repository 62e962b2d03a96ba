"""Values are those of the file's tags, exact where they are integers, in every encoding."""

import numpy as np
import pytest
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from MedLLMSegLib import UserError
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_oracles import assert_same_voxels, dcm2niix_volume
from Testing.helpers.dicom_phantom import (
    COUNT,
    PHANTOM,
    compress,
    enhanced_dataset,
    expected_matrix,
    item,
    slice_dataset,
    write,
    write_classic,
    write_enhanced,
)

EACH = np.arange(COUNT)[:, None, None]
LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1)
WIDE = np.kron(PHANTOM, np.ones((1, 3, 3), np.int16))  # JPEG 2000 wants 32 pixels


def check(folder, wanted, tmp_path, **tolerance):
    volume = load_volume(folder)
    np.testing.assert_allclose(volume.array, wanted, rtol=0, **({"atol": 0} | tolerance))
    assert_same_voxels(volume, dcm2niix_volume(folder, tmp_path / "out"), **tolerance)
    return volume


@pytest.mark.parametrize("kind", (np.int16, np.uint16, np.uint8), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_lossless_compression(tmp_path, syntax, kind):
    (tmp_path / "scan").mkdir()
    pixels = (WIDE - (200 if kind is np.int16 else 0)) if kind is not np.uint8 else WIDE % 256
    for n in range(COUNT):
        made = compress(slice_dataset(n, pixels[n].astype(kind)), syntax)
        write(made, tmp_path / "scan" / f"{n}.dcm")
    volume = check(tmp_path / "scan", pixels, tmp_path)
    assert volume.array.dtype == kind


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_compressed_frames_in_any_order(tmp_path, syntax):
    """dcm2niix leaves compressed frames in the order of the file, so the phantom is the judge."""
    order = np.random.default_rng(2).permutation(COUNT).tolist()
    path = write(compress(enhanced_dataset(order, pixels=WIDE), syntax), tmp_path / "a.dcm")
    assert np.array_equal(load_volume(path).array, WIDE)
    np.testing.assert_allclose(load_volume(path).ijk_to_ras, expected_matrix(), atol=1e-5)


def test_jpeg_with_losses(tmp_path):
    (tmp_path / "scan").mkdir()
    for n in range(COUNT):
        made = compress(slice_dataset(n, (PHANTOM[n] % 256).astype(np.uint8)), JPEGBaseline8Bit)
        write(made, tmp_path / "scan" / f"{n}.dcm")
    check(tmp_path / "scan", PHANTOM % 256, tmp_path, atol=3)


def test_big_endian_and_implicit_and_deflated_files(tmp_path):
    for name in ("big", "implicit", "deflated"):
        (tmp_path / name).mkdir()
    for n in range(COUNT):
        made = slice_dataset(n, PHANTOM[n].astype(">i2"))
        made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        made["PixelData"].VR = "OW"
        made.set_original_encoding(False, False)
        made.save_as(tmp_path / "big" / f"{n}.dcm", implicit_vr=False, little_endian=False)
        for name, syntax in (
            ("implicit", ImplicitVRLittleEndian),
            ("deflated", DeflatedExplicitVRLittleEndian),
        ):
            made = slice_dataset(n)
            made.file_meta.TransferSyntaxUID = syntax
            write(made, tmp_path / name / f"{n}.dcm")
    check(tmp_path / "big", PHANTOM, tmp_path)
    for name in ("implicit", "deflated"):
        assert np.array_equal(load_volume(tmp_path / name).array, PHANTOM)


def test_files_without_preamble_or_meta(tmp_path):
    for name in ("no preamble", "no meta"):
        (tmp_path / name).mkdir()
    for n in range(COUNT):
        path = write(slice_dataset(n), tmp_path / "no preamble" / f"{n}.dcm")
        path.write_bytes(path.read_bytes()[132:])
        made = slice_dataset(n)
        del made.file_meta
        made.preamble = None
        path = tmp_path / "no meta" / f"{n}"
        dcmwrite(path, made, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[:2] == b"\x08\x00"
    for name in ("no preamble", "no meta"):
        assert np.array_equal(load_volume(tmp_path / name).array, PHANTOM)


@pytest.mark.parametrize(
    "tags, wanted, kind",
    (
        (dict(RescaleSlope=lambda n: n % 3 + 1, RescaleIntercept=lambda n: -n),
         PHANTOM * (EACH % 3 + 1) - EACH, np.int16),
        (dict(RescaleSlope=lambda n: 0.25 * (n + 1), RescaleIntercept=lambda n: -7),
         PHANTOM * 0.25 * (EACH + 1) - 7, np.float32),
        (dict(RescaleSlope=lambda n: 0.0001 if n else 1, RescaleIntercept=lambda n: 0),
         PHANTOM * np.where(EACH, 0.0001, 1), np.float32),
        (dict(RescaleSlope=lambda n: 1, RescaleIntercept=lambda n: -1024),
         PHANTOM - 1024, np.int16),
        (dict(RescaleSlope=lambda n: 100, RescaleIntercept=lambda n: 1),
         PHANTOM.astype(np.int32) * 100 + 1, np.int32),
        (dict(PhotometricInterpretation=lambda n: "MONOCHROME1"), PHANTOM, np.int16),
        (dict(PixelPaddingValue=lambda n: 0), PHANTOM, np.int16),
    ),
    ids=(
        "integers", "fractions", "first slice integer", "CT", "beyond 16 bits", "MONOCHROME1",
        "padding",
    ),
)  # fmt: skip
def test_slopes_that_differ_by_slice_and_what_is_only_shown(tmp_path, tags, wanted, kind):
    def edit(made, n):
        for keyword, value in tags.items():
            setattr(made, keyword, str(value(n)) if keyword[0] == "R" else value(n))

    rounding = 1e-8 if kind is np.float32 else 0
    volume = check(write_classic(tmp_path / "scan", edit), wanted, tmp_path, atol=rounding)
    assert volume.array.dtype == kind


@pytest.mark.parametrize("kind", (np.int32, np.uint32), ids=lambda kind: kind.__name__)
def test_integers_of_32_bits_are_exact(tmp_path, kind):
    pixels = PHANTOM.astype(kind) * 70001 + 1
    assert int(pixels.max()) > 2**24
    volume = check(write_classic(tmp_path / "scan", pixels=pixels), pixels, tmp_path)
    assert volume.array.dtype == kind


def test_twelve_bits_with_a_sign_and_with_an_overlay_above_them(tmp_path):
    def twelve_bits(made, n):
        made.BitsStored, made.HighBit = 12, 11
        values = (PHANTOM[n] - 500).astype(np.int16).view(np.uint16)
        made.PixelData = (values & 0x0FFF).tobytes()

    check(write_classic(tmp_path / "scan", twelve_bits), PHANTOM - 500, tmp_path)

    def overlay(made, n):
        made.BitsStored, made.HighBit, made.PixelRepresentation = 12, 11, 0
        made.PixelData = (PHANTOM[n].astype(np.uint16) | 0xF000).tobytes()

    folder = write_classic(tmp_path / "overlay", overlay)
    assert np.array_equal(load_volume(folder).array, PHANTOM)


def test_floating_point_pixels(tmp_path):
    def edit(made, n):
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(made, keyword)
        made.BitsAllocated = 32
        made.FloatPixelData = (PHANTOM[n] * 0.37).astype("<f4").tobytes()

    wanted = (PHANTOM * 0.37).astype(np.float32)
    assert check(write_classic(tmp_path / "scan", edit), wanted, tmp_path).array.dtype == np.float32


def test_slopes_of_the_frames_of_an_enhanced_file(tmp_path):
    def edit(groups, number):
        groups.PixelValueTransformationSequence = item(
            RescaleIntercept=str(number), RescaleSlope=str(number % 2 + 1), RescaleType="US"
        )

    order = list(range(COUNT))[::-1]  # frame 0 is the last slice
    volume = load_volume(write_enhanced(tmp_path, order, edit=edit))
    numbers = EACH[::-1]
    assert np.array_equal(volume.array, PHANTOM * (numbers % 2 + 1) + numbers)


def test_a_modality_lut(tmp_path):
    table = (np.arange(2000) ** 2 // 100).astype("<u2")

    def edit(made, n):
        made.PixelRepresentation = 0
        made.ModalityLUTSequence = item(
            LUTDescriptor=[2000, 0, 16], ModalityLUTType="US", LUTData=table.tobytes()
        )

    assert np.array_equal(load_volume(write_classic(tmp_path, edit)).array, table[PHANTOM])


def test_grey_in_colours_is_read_and_true_colours_are_not(tmp_path):
    def edit(made, n):
        grey = (PHANTOM[n] % 256).astype(np.uint8)
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
        made.PixelData = np.stack([grey, grey, grey if n else 255 - grey], -1).tobytes()

    with pytest.raises(UserError, match="colour image"):
        load_volume(write_classic(tmp_path / "colours", edit))
    grey = load_volume(write_classic(tmp_path / "grey", edit, order=range(1, COUNT)))
    assert np.array_equal(grey.array, PHANTOM[1:] % 256)
    assert "stored in colour" in grey.notes[0]


def test_an_encoding_without_a_decoder_is_named(tmp_path):
    made = compress(slice_dataset(0, (PHANTOM[0] % 256).astype(np.uint8)), JPEGBaseline8Bit)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    path = write(made, tmp_path / "a.dcm")
    with pytest.raises(UserError, match=r"compressed as JPEG Extended.*no decoder; install"):
        load_volume(path)


def test_no_decoder_prints_anything(tmp_path, capfd, caplog):
    caplog.set_level("INFO", "medllmseg")
    made = compress(slice_dataset(0, WIDE[0]), JPEGLosslessSV1)
    data = bytearray(made.PixelData)
    data[100:140] = b"\xff" * 40
    made.PixelData = bytes(data)
    path = write(made, tmp_path / "a.dcm")
    try:
        load_volume(path)
    except UserError as error:
        assert "damaged" in str(error)
    assert capfd.readouterr() == ("", "")
    assert "Corrupt JPEG data" in caplog.text
