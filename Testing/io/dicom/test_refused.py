"""What does not say where it lies, or forms no even grid, is refused in one sentence."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_phantom import (
    AXES,
    COUNT,
    PHANTOM,
    PLANE,
    SEG,
    dataset,
    item,
    slice_dataset,
    text,
    write,
    write_classic,
    write_enhanced,
)


def without(*keywords, only=None):
    def edit(made, n):
        for keyword in keywords:
            if only is None or n == only:
                delattr(made, keyword)

    return edit


def with_value(keyword, value):
    return lambda made, n: setattr(made, keyword, value(n) if callable(value) else value)


def moved(along, distance):
    """Slices moved by distance(n) mm along a direction in their plane."""
    return with_value(
        "ImagePositionPatient", lambda n: text(PLANE.position(n) + AXES[along] * distance(n))
    )


REFUSED = {
    "spacing missing": (without("PixelSpacing"), "size of its pixels"),
    "spacing missing in one": (without("PixelSpacing", only=4), "in 1 of 12 slices"),
    "spacing empty": (with_value("PixelSpacing", None), "size of its pixels"),
    "one spacing": (with_value("PixelSpacing", "1"), "size of its pixels"),
    "spacing no number": (with_value("PixelSpacing", [float("nan"), 1.0]), "size of its pixels"),
    "spacing zero": (with_value("PixelSpacing", ["0", "0"]), "0 x 0 mm, and none may be zero"),
    "spacing negative": (with_value("PixelSpacing", ["1", "-1"]), "none may be zero"),
    "spacing differs": (
        with_value("PixelSpacing", lambda n: ["2.0", "2.2"] if n > 8 else ["1.0", "1.1"]),
        "different pixel sizes .1.1 x 1 to 2.2 x 2 mm.",
    ),
    "position missing": (without("ImagePositionPatient"), "where its slices lie"),
    "position missing in one": (without("ImagePositionPatient", only=4), "where its slices lie"),
    "direction missing": (without("ImageOrientationPatient"), "where its slices lie"),
    "direction missing in one": (without("ImageOrientationPatient", only=0), "where its slices"),
    "directions of no length": (
        with_value("ImageOrientationPatient", ["0"] * 6),
        "not at right angles or not of length 1",
    ),
    "directions askew": (
        with_value("ImageOrientationPatient", ["1", "0", "0", "0.6", "0.8", "0"]),
        "not at right angles",
    ),
    "half jumps sideways": (moved(0, lambda n: 3 if n > 6 else 0), "3 mm from the others"),
    "half jumps half a pixel": (moved(1, lambda n: 0.5 if n > 6 else 0), "0.5 mm from the others"),
    "one jumps sideways": (moved(0, lambda n: 3 * (n == 6)), "3 mm from the others"),
    "sheared by many slices": (moved(1, lambda n: 0.5 * n), "sheared by 5.5 mm"),
    "sheared by less than a slice": (moved(1, lambda n: 0.07 * n), "sheared by 0.77 mm"),
    "sheared by a third of a pixel": (moved(0, lambda n: 0.03 * n), "sheared by 0.33 mm"),
    "a mosaic": (with_value("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaic"),
}


@pytest.mark.parametrize("edit, sentence", REFUSED.values(), ids=REFUSED)
def test_a_series_that_is_not_placed(tmp_path, edit, sentence):
    write_classic(tmp_path, edit)
    with pytest.raises(UserError, match=sentence) as refusal:
        load_volume(tmp_path)
    message = str(refusal.value)
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert "\n" not in message


def test_a_multi_frame_file_without_positions(tmp_path):
    made = dataset(PHANTOM, PixelSpacing=["1", "1"], SliceThickness="1.2")
    made.ImagePositionPatient, made.ImageOrientationPatient = text(PLANE.origin), text(AXES)
    write(made, tmp_path / "a.dcm")
    with pytest.raises(UserError, match="does not say where its slices lie"):
        load_volume(tmp_path)


def test_a_multi_frame_file_whose_shared_spacing_is_missing(tmp_path):
    from pydicom import dcmread

    path = write_enhanced(tmp_path)
    made = dcmread(path)
    del made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    write(made, path)
    with pytest.raises(UserError, match="size of its pixels"):
        load_volume(path)
    made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = item(PixelSpacing=["0", "1"])
    write(made, path)
    with pytest.raises(UserError, match="none may be zero"):
        load_volume(path)


def test_frames_that_are_stated_and_not_described(tmp_path):
    from pydicom import dcmread

    path = write_enhanced(tmp_path)
    made = dcmread(path)
    del made.PerFrameFunctionalGroupsSequence[-1]
    write(made, path)
    with pytest.raises(UserError, match="states 12 frames and describes 11"):
        load_volume(path)


@pytest.mark.parametrize("frames", (10**6, 2**31 - 1))
def test_a_damaged_number_of_frames_is_found_before_anything_is_made_of_it(tmp_path, frames):
    made = dataset(PHANTOM)
    made.NumberOfFrames = frames
    path = write(made, tmp_path / "a.dcm")
    with pytest.raises(UserError, match="damaged or cut short"):
        load_volume(path)


def test_other_objects_and_damaged_files_of_other_series_are_passed_over_with_a_note(tmp_path):
    write_classic(tmp_path)
    storage = "1.2.840.10008.5.1.4.1.1."
    small = np.zeros((8, 8), np.uint8)
    for number, (name, sop_class) in enumerate(
        (("seg", SEG), ("rt", storage + "481.3"), ("sr", storage + "88.33"),
         ("pr", storage + "11.1"),
         ("DIRFILE", "1.2.840.10008.1.3.10"), ("DICOMDIR", "1.2.840.10008.1.3.10"),
         ("thumb.dcm", storage + "7"))
    ):  # fmt: skip
        write(dataset(small, sop_class, n=90 + number), tmp_path / name)
    cut = write(slice_dataset(0, SeriesInstanceUID="1.2.99"), tmp_path / "cut.dcm")
    cut.write_bytes(cut.read_bytes()[:700])
    (tmp_path / "stub.dcm").write_bytes(cut.read_bytes()[:340])
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "junk.dcm").write_bytes(b"hello" * 99)
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "IM003.dcm").read_bytes())
    volume = load_volume(tmp_path)
    assert np.array_equal(volume.array, PHANTOM)
    assert len(volume.notes) == 1
    assert volume.notes[0].startswith("12 files were passed over: ")
    assert "Doe" not in volume.notes[0]
    assert np.array_equal(load_volume(tmp_path / "IM005.dcm").array, PHANTOM)


@pytest.mark.parametrize(
    "sop_class, reason",
    ((SEG, "a segmentation"), ("1.2.840.10008.5.1.4.1.1.481.2", "radiotherapy data")),
)
def test_what_is_passed_over_is_named_and_is_no_scan_alone(tmp_path, sop_class, reason):
    write_classic(tmp_path / "scan")
    for folder in (tmp_path / "scan", tmp_path / "alone"):
        folder.mkdir(exist_ok=True)
        write(dataset(PHANTOM.astype(np.uint8), sop_class, n=99), folder / "other.dcm")
    note = f'1 file was passed over: "other.dcm" ({reason}).'
    assert load_volume(tmp_path / "scan").notes == (note,)
    for path in (tmp_path / "alone", tmp_path / "alone" / "other.dcm"):
        with pytest.raises(UserError, match=f"no readable DICOM image .only {reason}."):
            load_volume(path)


def test_a_damaged_file_that_may_be_a_missing_slice_is_not_passed_over(tmp_path):
    """Cut before its series' UID, it can be told by the number that is missing."""
    write_classic(tmp_path, order=range(0, COUNT, 2))
    path = tmp_path / "IM002.dcm"
    path.write_bytes(path.read_bytes()[:340])
    with pytest.raises(UserError, match=r"IM002\.dcm.*damaged or cut short"):
        load_volume(tmp_path)


def test_pydicom_comes_when_a_dicom_file_is_read_and_not_before():
    import subprocess
    import sys

    code = (
        "import sys, MedLLMSegLib, MedLLMSegLib.io.volume_files, MedLLMSegLib.registry.catalogue;"
        "print({'pydicom', 'gdcm', 'openjpeg'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
