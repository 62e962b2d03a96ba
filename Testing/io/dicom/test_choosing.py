"""Where files hold several volumes, one sentence lists them, and --series and --frames choose."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.cli.common_options import joined_frames
from MedLLMSegLib.cli.main import build_parser, main
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_phantom import (
    COUNT,
    PHANTOM,
    expected_matrix,
    item,
    slice_dataset,
    text,
    write,
    write_classic,
    write_enhanced,
)

PLANES = (["1", "0", "0", "0", "1", "0"], ["0", "1", "0", "0", "0", "-1"])


def test_three_planes_in_one_file_are_no_volume(tmp_path):
    def turn(groups, number):
        groups.PlaneOrientationSequence = item(ImageOrientationPatient=PLANES[number // 6])
        groups.PlanePositionSequence = item(ImagePositionPatient=["0", "0", str(number)])

    path = write_enhanced(tmp_path, edit=turn)
    with pytest.raises(UserError, match=r"different sizes or directions.*1: .*6 slices.*axial"):
        load_volume(path)
    first = load_volume(path, series="1")
    assert np.array_equal(first.array, PHANTOM[:6])
    assert np.array_equal(load_volume(path, frames="2-5").array, PHANTOM[1:5])


def test_echoes_time_points_and_diffusion_weightings(tmp_path):
    def echo(groups, number):
        groups.MREchoSequence = item(EffectiveEchoTime=5.0 * (2 - number % 2))

    def time(groups, number):
        groups.FrameContentSequence[0].TemporalPositionIndex = number // COUNT + 1

    def weight(groups, number):
        groups.MRDiffusionSequence = item(DiffusionBValue=1000.0 * (number % 2))

    alternating = [n for n in range(COUNT) for _ in (0, 1)]
    for name, edit, order, listed in (
        ("echo", echo, alternating, r"1: .*echo time 5\.0 ms\), 2: .*echo time 10\.0 ms"),
        ("time", time, [*range(COUNT)] * 2, r"1: .*time point 1\), 2: .*time point 2"),
        ("weight", weight, alternating, r"1: .*b-value 0\.0 s/mm².*2: .*b-value 1000\.0"),
        ("nothing", None, alternating, r"1: .*image 1 of each place.*image 2 of each place"),
    ):
        path = write_enhanced(tmp_path / name, order, edit=edit)
        with pytest.raises(UserError, match=f"holds 2 volumes: {listed}.*with --series"):
            load_volume(path)
        volume = load_volume(path, series="2")
        assert np.array_equal(volume.array, PHANTOM)
        np.testing.assert_allclose(volume.ijk_to_ras, expected_matrix(), atol=1e-5)


def test_the_second_echo_is_the_second_one(tmp_path):
    def edit(groups, number):
        groups.MREchoSequence = item(EffectiveEchoTime=5.0 if number < COUNT else 10.0)

    pixels = np.concatenate([PHANTOM, PHANTOM + 1])
    order = [*range(COUNT)] * 2
    path = write_enhanced(tmp_path, order, edit=edit)
    from pydicom import dcmread

    made = dcmread(path)
    made.PixelData = pixels.tobytes()
    write(made, path)
    assert np.array_equal(load_volume(path, series="1").array, PHANTOM)
    assert np.array_equal(load_volume(path, series="2").array, PHANTOM + 1)
    assert np.array_equal(load_volume(path, frames=f"{COUNT + 1}-{2 * COUNT}").array, PHANTOM + 1)


def test_two_stacks_apart_are_two_volumes_and_two_that_touch_are_one(tmp_path):
    def stack(groups, number):
        groups.FrameContentSequence[0].StackID = "1" if number < 4 else "2"

    path = write_enhanced(tmp_path / "apart", [*range(4), *range(7, COUNT)], edit=stack)
    with pytest.raises(UserError, match=r"1: .*4 slices, stack 1.*2: .*5 slices, stack 2"):
        load_volume(path)
    assert np.array_equal(load_volume(path, series="2").array, PHANTOM[7:])
    path = write_enhanced(tmp_path / "touching", edit=stack)
    assert np.array_equal(load_volume(path).array, PHANTOM)


def test_the_time_points_of_a_classic_series(tmp_path):
    def later(made, n):
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{n}"
        made.InstanceNumber, made.AcquisitionTime = COUNT + n + 1, "101500"

    write_classic(tmp_path)
    write_classic(tmp_path, later, pixels=PHANTOM + 1, name="A")
    with pytest.raises(UserError, match=r"holds 2 volumes: .*acquisition time 101112.*101500"):
        load_volume(tmp_path)
    assert np.array_equal(load_volume(tmp_path, series="2").array, PHANTOM + 1)
    assert np.array_equal(load_volume(tmp_path, series="2", frames="3-6").array, PHANTOM[2:6] + 1)


@pytest.mark.parametrize("form", (write_classic, write_enhanced), ids=("classic", "enhanced"))
def test_a_gap_is_named_with_the_part_that_can_be_taken(tmp_path, form):
    form(tmp_path, order=[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11])
    with pytest.raises(UserError, match=r"missing or unevenly.*7 slices .* --frames 1-7\."):
        load_volume(tmp_path)
    volume = load_volume(tmp_path, frames="1-7")
    assert np.array_equal(volume.array, PHANTOM[:7])
    np.testing.assert_allclose(volume.ijk_to_ras, expected_matrix(), atol=1e-5)


def test_a_scout_in_the_series_is_named_and_the_scan_can_be_chosen(tmp_path):
    write_classic(tmp_path)
    scout = slice_dataset(0, ImageOrientationPatient=PLANES[1], SOPInstanceUID="1.2.99")
    write(scout, tmp_path / "scout.dcm")
    with pytest.raises(UserError, match=r"a scout.*12 slices.*1 slice, 14 x 16, sagittal"):
        load_volume(tmp_path)
    volume = load_volume(tmp_path, series="1")
    assert np.array_equal(volume.array, PHANTOM)
    assert '"scout.dcm"' in volume.notes[0]


def test_a_series_is_chosen_by_its_uid_or_number(tmp_path):
    def other(made, n):
        made.SeriesInstanceUID, made.SeriesDescription = "1.2.50", "T2"
        made.SOPInstanceUID = f"1.2.50.{n}"

    write_classic(tmp_path)
    write_classic(tmp_path, other, pixels=PHANTOM + 1, name="X")
    for choice in ("1.2.50", "2"):
        assert np.array_equal(load_volume(tmp_path, series=choice).array, PHANTOM + 1)
    with pytest.raises(UserError, match=r'no volume called "7", but these: 1: "T1".*2: "T2"'):
        load_volume(tmp_path, series="7")
    for frames in ("x", "1-", "-3", ""):
        with pytest.raises(UserError, match="names no frames"):
            load_volume(tmp_path, series="2", frames=frames)
    with pytest.raises(UserError, match="none of those that were asked for"):
        load_volume(tmp_path, series="2", frames="40-50")


def test_the_command_line_hands_the_choice_on(tmp_path, capsys):
    def parsed(*words):
        return build_parser().parse_args(joined_frames(["segment", *words, "-o", "out"]))

    every = parsed("--frames", "scan")
    assert every.frames
    assert every.frame_numbers is None
    assert str(every.scans[0]) == "scan"
    for words in (("scan", "--frames", "1-3,5"), ("scan", "--frames=1-3,5")):
        some = parsed(*words, "--series", "2")
        assert (some.frames, some.frame_numbers, some.series) == (False, "1-3,5", "2")
    write_classic(tmp_path / "scan", order=[0, 1, 2, 4, 5])
    output = str(tmp_path / "out.nii.gz")
    assert main(["segment", str(tmp_path / "scan"), "--series", "9", "-o", output]) == 2
    assert 'no volume called "9"' in capsys.readouterr().err
    (tmp_path / "a.nrrd").write_text("NRRD0004\n")
    assert main(["segment", str(tmp_path / "a.nrrd"), "--frames", "1-3", "-o", output]) == 2
    assert "can be chosen only for DICOM" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, letters",
    (
        (dict(charset="ISO_IR 192"), "Schädel 頭部"),
        (dict(charset="ISO_IR 100"), "Schädel"),
        (dict(charset="ISO_IR 144"), "Голова"),
        (dict(charset=["", "ISO 2022 IR 87"]), "頭部"),
        (dict(charset=["", "ISO 2022 IR 149"]), "머리"),
        (dict(charset="GB18030"), "头部"),
    ),
    ids=str,
)
def test_descriptions_are_readable_in_any_character_set(tmp_path, words, letters):
    def first(made, n):
        made.SpecificCharacterSet, made.SeriesDescription = words["charset"], letters

    def second(made, n):
        first(made, n)
        made.SeriesInstanceUID, made.SOPInstanceUID = "1.2.50", f"1.2.50.{n}"

    write_classic(tmp_path, first)
    write_classic(tmp_path, second, name="X")
    with pytest.raises(UserError) as refusal:
        load_volume(tmp_path)
    assert f'"{letters}" (12 slices)' in str(refusal.value)


def test_utf_8_that_no_tag_declares_and_control_characters(tmp_path):
    def edit(made, n):
        made.SeriesDescription = "Kopf\x1b[2J XX"

    write_classic(tmp_path, edit)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes().replace(b"XX", "ä".encode()))
    second = slice_dataset(0, ImageOrientationPatient=text([1, 0, 0, 0, 1, 0]))
    write(second, tmp_path / "b.dcm")
    with pytest.raises(UserError) as refusal:
        load_volume(tmp_path)
    assert '"Kopf [2J ä"' in str(refusal.value)
