"""Pictures that viewers show otherwise than a plain reader, or that lack a part of the image."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, PngImagePlugin

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.radiograph import load_radiograph

ROWS, COLUMNS = np.indices((96, 128))
GREY = np.clip(
    60 + 90 * np.exp(-(((COLUMNS - 40) / 20) ** 2)) + ROWS * 0.6 + 40 * (COLUMNS < 15), 0, 255
).astype(np.uint8)
DEEP = (GREY.astype(np.uint16) << 7) + ROWS.astype(np.uint16)


def shown(path):
    return load_radiograph(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ("a.jpg", "a.png", "a.tif"))
def test_pictures_are_turned_as_viewers_show_them(tmp_path, name, orientation):
    path = tmp_path / name
    exif = Image.Exif()
    exif[0x112] = orientation
    if name == "a.tif":
        tifffile.imwrite(path, GREY, extratags=[(274, "H", 1, orientation, True)])
    else:
        more = {"quality": 95} if name == "a.jpg" else {}
        Image.fromarray(GREY).save(path, exif=exif, **more)
    stored = Image.fromarray(GREY)
    stored.getexif()[0x112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored), float) / 255
    radiograph = load_radiograph(path)
    assert radiograph.array.shape == expected.shape
    assert np.abs(radiograph.array - expected).max() < 0.05
    assert any("EXIF" in note for note in radiograph.notes) == (orientation != 1)
    assert radiograph.volume.array.shape[1:] == GREY.shape  # maps lie on the pixels as stored
    back = radiograph.orientation.to_stored(radiograph.array)
    assert np.abs(back - GREY / 255).max() < 0.05


@pytest.mark.parametrize("orientation", (2, 6))
def test_a_deep_tiff_keeps_its_grey_values_when_it_is_turned(tmp_path, orientation):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, extratags=[(274, "H", 1, orientation, True)])
    assert np.array_equal(load_radiograph(tmp_path / "a.tif").volume.array[0], DEEP)


@pytest.mark.parametrize("bits", (1, 6, 7))
def test_significant_bits_change_no_values(tmp_path, bits):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sBIT", bytes([bits]))
    Image.fromarray(GREY).save(tmp_path / "a.png", pnginfo=chunks)
    assert np.array_equal(load_radiograph(tmp_path / "a.png").volume.array[0], GREY)


def test_a_transparent_value_is_named(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png", transparency=0)
    with pytest.raises(UserError, match="transparent parts"):
        load_radiograph(tmp_path / "a.png")


@pytest.mark.parametrize("name", ("a.png", "a.tif"))
def test_palettes(tmp_path, name):
    steps = GREY // 16
    image = Image.fromarray(steps, mode="P")
    image.putpalette([value for n in range(16) for value in (255 - n * 17,) * 3])
    image.save(tmp_path / name)
    expected = (255 - steps * 17.0) / 255
    seen = load_radiograph(tmp_path / name).array
    if name == "a.tif":  # 16 bits deep there, with a window from its percentiles
        expected = (expected - expected.min()) / np.ptp(expected)
    assert np.abs(seen - expected).max() < 0.01
    image.putpalette([value for n in range(16) for value in (n * 17, 0, 255 - n * 17)])
    image.save(tmp_path / name)
    with pytest.raises(UserError, match="colour"):
        load_radiograph(tmp_path / name)


@pytest.mark.parametrize("opacity, readable", ((255, True), (100, False)))
def test_a_palette_with_opacities(tmp_path, opacity, readable):
    image = Image.fromarray(GREY // 16, mode="P")
    image.putpalette([value for n in range(16) for value in (n * 17,) * 3])
    image.save(tmp_path / "a.png", transparency=bytes([255] * 15 + [opacity]))
    if readable:
        assert (
            np.abs(load_radiograph(tmp_path / "a.png").array - GREY // 16 * 17 / 255).max() < 0.01
        )
    else:
        with pytest.raises(UserError, match="transparent parts"):
            load_radiograph(tmp_path / "a.png")


FAULTS = {
    "half": lambda b: b[: len(b) // 2],
    "the end": lambda b: b[:-2],
    "a tenth": lambda b: b[: len(b) * 9 // 10],
    "zeros": lambda b: b[: len(b) // 2] + bytes(60) + b[len(b) // 2 + 60 :],
    "removed": lambda b: b[: len(b) // 2] + b[len(b) // 2 + 60 :],
    "ones": lambda b: b[: len(b) // 2] + b"\xff" * 30 + b[len(b) // 2 + 30 :],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ("a.jpg", "progressive.jpg", "a.png"))
def test_a_picture_without_a_part_of_the_image_is_refused(tmp_path, kind, fault, capfd):
    path = tmp_path / kind
    more = {"quality": 95, "progressive": kind.startswith("p")} if kind.endswith("jpg") else {}
    Image.fromarray(GREY).save(path, **more)
    load_radiograph(path)
    path.write_bytes(FAULTS[fault](path.read_bytes()))
    with pytest.raises(UserError, match=r"missing|damaged") as caught:
        load_radiograph(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damage_beside_the_image_does_not_matter(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png", pnginfo=texts("a text"))
    content = (tmp_path / "a.png").read_bytes().replace(b"a text", b"A text")
    (tmp_path / "a.png").write_bytes(content + b"something behind")
    assert np.array_equal(load_radiograph(tmp_path / "a.png").volume.array[0], GREY)


def texts(text):
    info = PngImagePlugin.PngInfo()
    info.add_text("note", text)
    return info


def test_an_animation_is_no_image(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    chunk = b"acTL" + struct.pack(">II", 2, 0)
    chunk = struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(content[:33] + chunk + content[33:])
    with pytest.raises(UserError, match="animation"):
        load_radiograph(tmp_path / "a.png")
