"""LIDC's own DICOM and XML as cases to train on."""

import json

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data import lidc, read_cases, split_cases
from MedLLMSegLib.data.lidc_xml import inner_pixels, read_xml
from MedLLMSegLib.io.volume_files import load_volume
from Testing.helpers.dicom_series import write_series

DEPTHS = [5.0, 2.5, 0.0, -2.5]  # written from the head downwards
SQUARE = [(2, 2), (3, 2), (4, 2), (5, 2), (5, 3), (5, 4), (5, 5), (4, 5), (3, 5), (2, 5), (2, 3)]


def roi(number, points, inclusion="TRUE", uid="1.2.3"):
    edges = "".join(
        f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points
    )
    return (
        f"<roi><imageZposition>0</imageZposition><imageSOP_UID>{uid}.{number}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
    )


def message(*readers, uid="1.2.3"):
    sessions = "".join(
        "<readingSession><unblindedReadNodule><noduleID>1</noduleID>"
        f"{rois}</unblindedReadNodule><nonNodule><imageSOP_UID>9</imageSOP_UID></nonNodule>"
        "</readingSession>"
        for rois in readers
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage xmlns="http://www.nih.gov">'
        f"<ResponseHeader><SeriesInstanceUid>{uid}</SeriesInstanceUid></ResponseHeader>"
        f"{sessions}</LidcReadMessage>"
    )


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "LIDC"
    write_series(data / "patient" / "series", DEPTHS, size=(9, 8))
    both = roi(1, SQUARE) + roi(2, SQUARE)
    (data / "patient" / "069.xml").write_text(message(both, roi(1, SQUARE), roi(3, [(4, 4)])))
    return data


def test_pixels_inside_a_contour_are_nodule_and_the_contour_is_not():
    found = {tuple(pixel) for pixel in inner_pixels(np.array(SQUARE))}
    assert found == {(3, 3), (3, 4), (4, 3), (4, 4)}
    corners = inner_pixels(np.array([(2, 2), (5, 2), (5, 5), (2, 5)]))
    assert {tuple(pixel) for pixel in corners} == found


def test_voxels_that_two_readers_outlined_lie_where_their_slice_lies(folder, tmp_path):
    assert lidc.convert_lidc(folder, tmp_path / "out").notes == []
    (image,) = (tmp_path / "out" / "imagesTr").iterdir()
    scan = load_volume(image)
    labels = load_volume(tmp_path / "out" / "labelsTr" / image.name)
    places = np.argwhere(labels.array)
    assert len(places) == 4  # slice 1 alone, whose value is its depth: 2
    assert set(scan.array[labels.array > 0]) == {2}
    ras = labels.ijk_to_ras @ np.array([*places[0][::-1], 1])
    assert np.allclose(ras[:3], [20 - 3 * 0.5, 30 - 3 * 0.6, 2.5], atol=1e-3)
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "nodule": 1}
    alone = lidc.LidcRequest(readers=1)
    lidc.convert_lidc(folder, tmp_path / "one", alone)
    assert load_volume(tmp_path / "one" / "labelsTr" / image.name).array.sum() == 8


def test_a_hole_is_left_out(folder, tmp_path):
    wide = [(1, 1), (6, 1), (6, 6), (1, 6)]
    hole = [(2, 2), (4, 2), (4, 4), (2, 4)]
    rois = roi(1, wide) + roi(1, hole, "FALSE")
    (folder / "patient" / "069.xml").write_text(message(rois))
    lidc.convert_lidc(folder, tmp_path / "out", lidc.LidcRequest(readers=1))
    (labels,) = (tmp_path / "out" / "labelsTr").iterdir()
    assert load_volume(labels).array.sum() == 16 - 1


def test_a_box_is_cut_around_the_nodules(folder, tmp_path):
    request = lidc.LidcRequest(around_mm=0.5)
    lidc.convert_lidc(folder, tmp_path / "out", request)
    (labels,) = (tmp_path / "out" / "labelsTr").iterdir()
    cut = load_volume(labels)
    assert cut.array.sum() == 4
    assert cut.array.shape == (3, 4, 4)


def test_a_document_type_is_refused_before_its_entities_are_read(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    for encoding in ("utf-8", "utf-16"):
        path = tmp_path / f"{encoding}.xml"
        path.write_bytes(bomb.replace("1.0", f'1.0" encoding="{encoding}', 1).encode(encoding))
        with pytest.raises(UserError, match="document type"):
            read_xml(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<LidcReadMessage>", "could not be read"),
        ("", "could not be read"),
        (message("", uid=""), "SeriesInstanceUid is missing"),
        (message(roi(1, [(1, 1), ("a", 1), (2, 2)])), "could not be read"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "069.xml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_xml(path)


def test_other_files_are_passed_over_and_named(folder, tmp_path, capsys):
    (folder / "cxr.xml").write_text("<IdriReadMessage/>")
    (folder / "other.xml").write_text(message(uid="9.9"))
    assert lidc.main(["--data", str(folder), "--output", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "1 case written into" in told.out
    assert "cxr.xml" in told.err
    assert "9.9" in told.err


def test_a_contour_of_another_series_is_refused(folder, tmp_path):
    (folder / "patient" / "069.xml").write_text(message(roi(7, SQUARE)))
    with pytest.raises(UserError, match=r"slice 1\.2\.3\.7"):
        lidc.convert_lidc(folder, tmp_path / "out")
    (folder / "patient" / "069.xml").write_text(message(roi(1, [(2, 2), (99, 2), (2, 99)])))
    with pytest.raises(UserError, match="outside"):
        lidc.convert_lidc(folder, tmp_path / "out")


def test_far_points_are_refused_before_memory_is_asked_for(folder, tmp_path):
    far = [(1, 1), (90_000, 1), (1, 90_000)]  # 8 GB of them would be filled
    (folder / "patient" / "069.xml").write_text(message(roi(1, far)))
    with pytest.raises(UserError, match=r"\(90000, 1\).* 9 x 8 pixels") as refused:
        lidc.convert_lidc(folder, tmp_path / "out")
    assert "\n" not in str(refused.value)
    (folder / "patient" / "069.xml").write_text(message(roi(1, [(-1, 1), (4, 1), (1, 4)])))
    with pytest.raises(UserError, match=r"\(-1, 1\)|outside"):
        lidc.convert_lidc(folder, tmp_path / "out")


def test_a_second_xml_of_a_series_does_not_replace_the_first(folder, tmp_path):
    copy = (folder / "patient" / "069.xml").read_text()
    (folder / "patient" / "070.xml").write_text(copy)
    assert lidc.convert_lidc(folder, tmp_path / "out").notes == []
    (folder / "patient" / "070.xml").write_text(message(roi(3, SQUARE)))
    made = lidc.convert_lidc(folder, tmp_path / "other")
    (note,) = made.notes
    assert "069.xml" in note
    assert "070.xml" in note
    labels = load_volume(tmp_path / "other" / "labelsTr" / f"{made.cases[0]}.nii.gz")
    assert labels.array.sum() == 4


def test_two_series_of_one_folder_are_both_converted(folder, tmp_path):
    write_series(folder / "patient" / "series", DEPTHS, uid="4.5", size=(9, 8), start=50)
    again = roi(2, SQUARE, uid="4.5")
    (folder / "070.xml").write_text(message(again, again, uid="4.5"))
    made = lidc.convert_lidc(folder, tmp_path / "out")
    assert made.notes == []
    planes = [
        np.argwhere(load_volume(tmp_path / "out" / "labelsTr" / f"{case}.nii.gz").array)[0, 0]
        for case in made.cases
    ]
    assert len(planes) == len(set(planes)) == 2


def test_a_series_in_two_folders_is_named_and_passed_over(folder, tmp_path):
    write_series(folder / "more", [-5.0, -7.5], size=(9, 8), start=4)
    write_series(folder / "other", DEPTHS, uid="4.5", size=(9, 8))
    (folder / "070.xml").write_text(message(roi(1, SQUARE, uid="4.5"), uid="4.5"))
    made = lidc.convert_lidc(folder, tmp_path / "out")
    assert made.cases == ["other"]
    (note,) = made.notes
    assert "1.2.3" in note
    assert "more" in note


def test_a_bad_series_is_named_and_the_others_are_converted(folder, tmp_path):
    write_series(folder / "damaged", DEPTHS, uid="4.5", size=(9, 8))
    slice_file = folder / "damaged" / "IM0001.dcm"
    slice_file.write_bytes(slice_file.read_bytes()[:-40])
    (folder / "070.xml").write_text(message(roi(1, SQUARE, uid="4.5"), uid="4.5"))
    made = lidc.convert_lidc(folder, tmp_path / "out")
    assert made.cases == ["series"]
    (note,) = made.notes
    assert "damaged" in note
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["numTraining"] == 1


def test_the_series_of_one_patient_stay_together(folder, tmp_path):
    for n in range(4):  # "series" once more, and three other patients
        place = folder / f"p{n}" / ("series" if n == 0 else f"other{n}")
        write_series(place, DEPTHS, uid=f"5.{n}", size=(9, 8))
        both = [roi(1, SQUARE, uid=f"5.{n}")] * 2
        (folder / f"{n}.xml").write_text(message(*both, uid=f"5.{n}"))
    made = lidc.convert_lidc(folder, tmp_path / "out")
    assert len(made.cases) == 5
    case_set = read_cases(tmp_path / "out")
    groups = {case.id: case.group for case in case_set.cases}
    assert groups["series_lidc2"] == groups["series"]
    assert len(set(groups.values())) == 4
    for seed in range(10):
        for cases in split_cases(case_set, seed=seed).values():
            assert len({"series", "series_lidc2"} & {case.id for case in cases}) != 1


def test_an_earlier_conversion_is_replaced_only_when_asked_for(folder, tmp_path, capsys):
    out = tmp_path / "out"
    lidc.convert_lidc(folder, out)
    (folder / "patient" / "series").rename(folder / "patient" / "renamed")
    with pytest.raises(UserError, match="--overwrite"):
        lidc.convert_lidc(folder, out)
    arguments = ["--data", str(folder), "--output", str(out), "--overwrite"]
    assert lidc.main(arguments) == 0
    assert "1 case written" in capsys.readouterr().out
    assert [path.name for path in (out / "imagesTr").iterdir()] == ["renamed.nii.gz"]
    assert [path.name for path in (out / "labelsTr").iterdir()] == ["renamed.nii.gz"]
    mine = out / "labelsTr" / "mine.nii.gz"
    mine.write_bytes(b"my own work")
    with pytest.raises(UserError, match=r"mine\.nii\.gz"):
        lidc.convert_lidc(folder, out, lidc.LidcRequest(overwrite=True))
    assert mine.exists()
    assert (out / "imagesTr" / "renamed.nii.gz").exists()


def test_a_folder_without_series_or_xml_is_refused(tmp_path, capsys):
    assert lidc.main(["--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert lidc.main(["--data", str(tmp_path / "no"), "--output", str(tmp_path / "out")]) == 2
    assert lidc.main(["--data", str(tmp_path), "--output", "x", "--readers", "5"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_patients_are_split_by_their_names():
    parts = [lidc.split_of(f"LIDC-IDRI-{n:04d}") for n in range(1, 1011)]
    assert 0.6 < parts.count("train") / 1010 < 0.8
    assert parts.count("val") > 50
    assert parts.count("test") > 150
