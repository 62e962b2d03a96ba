"""Tables of labelled images: the columns people have, the splits they state, and a sentence for
what is wrong.
"""

import json
from pathlib import Path

import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.data import split_cases
from MedLLMSegLib.data.image_table import read_classes

CXR = Path(__file__).parents[3] / "shared/data/cxr"


def table(folder, text, files=("a.png", "b.png", "c.png"), splits=None):
    folder.mkdir(exist_ok=True)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"x")
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    if splits:
        (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def test_columns_go_by_several_names_and_the_rest_is_kept(tmp_path):
    found = read_classes(
        table(
            tmp_path,
            "file,cls,patient,view\na.png,Pneumonia,7,AP\nb.png,No_findings,7,PA\nc.png,Pneumonia,8,AP\n",
        )
    )
    assert found.classes == ("No_findings", "Pneumonia")  # the class without a finding is the first
    assert [(c.id, c.target, c.group, c.columns["view"]) for c in found.cases] == [
        ("a.png", 1, "7", "AP"),
        ("b.png", 0, "7", "PA"),
        ("c.png", 1, "8", "AP"),
    ]


def test_semicolons_the_images_subfolder_and_an_own_order_of_classes(tmp_path):
    folder = table(
        tmp_path,
        "image;class\na.png;x\nb.png;y\nc.png;x\n",
        ("images/a.png", "images/b.png", "images/c.png"),
    )
    found = read_classes(folder / "labels.csv", ["y", "x"])
    assert found.classes == ("y", "x")
    assert [c.target for c in found.cases] == [1, 0, 1]
    assert [c.group for c in found.cases] == ["a.png", "b.png", "c.png"]


def test_only_ends_of_line_end_a_row(tmp_path):
    found = read_classes(
        table(tmp_path, "image,class,remark\na.png,x,seen\x0ctwice\u2028here\nb.png,y,\n")
    )
    assert [(c.id, c.columns["remark"]) for c in found.cases] == [
        ("a.png", "seen\x0ctwice\u2028here"),
        ("b.png", ""),
    ]


@pytest.mark.parametrize(
    "names", [("normal", "disease"), ("no", "abscess"), ("0", "1"), ("healthy", "DCM")]
)
def test_the_class_without_a_finding_is_the_first(tmp_path, names):
    rows = f"image,class\na.png,{names[1]}\nb.png,{names[0]}\n"
    assert read_classes(table(tmp_path, rows)).classes == names


def test_splits_are_stated_beside_the_table_or_in_it(tmp_path):
    rows = "image,class,patient\na.png,x,1\nb.png,y,2\nc.png,x,3\n"
    beside = split_cases(
        read_classes(
            table(
                tmp_path / "1", rows, splits={"train": ["a.png"], "val": ["2"], "test": ["c.png"]}
            )
        )
    )
    assert {k: [c.id for c in v] for k, v in beside.items()} == {
        "train": ["a.png"],
        "val": ["b.png"],
        "test": ["c.png"],
    }
    inside = split_cases(
        read_classes(
            table(tmp_path / "2", "image,class,split\na.png,x,test\nb.png,y,train\nc.png,x,val\n")
        )
    )
    assert {k: [c.id for c in v] for k, v in inside.items()} == {
        "train": ["b.png"],
        "val": ["c.png"],
        "test": ["a.png"],
    }


@pytest.mark.parametrize(
    "text, splits, message",
    [
        ("image,kind\na.png,x\n", None, 'no column "class"'),
        ("image,class\na.png,x\nz.png,y\n", None, 'Row 3 of .* names the image "z.png"'),
        ("image,class\na.png,x\nb.png,\n", None, "Row 3 of .* has no class"),
        ("image,class\na.png,x\nb.png,x\n", None, r"one class only \(x\)"),
        ("image,class\n", None, "has no class"),
        ("image,class\na.png,x\na.png,y\n", None, 'two cases called "a.png"'),
        (
            "image,class,patient\na.png,x,1\nb.png,y,1\nc.png,x,2\n",
            {"train": ["a.png"], "val": ["b.png"], "test": ["c.png"]},
            "two splits",
        ),
        ("image,class,split\na.png,x,train\nb.png,y,\n", None, 'has the split ""'),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, text, splits, message):
    with pytest.raises(UserError, match=message):
        read_classes(table(tmp_path, text, splits=splits))


def test_no_table_at_all(tmp_path):
    with pytest.raises(UserError, match="no table of images"):
        read_classes(tmp_path)


@pytest.mark.skipif(not CXR.is_dir(), reason="NOT TESTED: shared/data/cxr is not here")
def test_the_shared_x_rays_keep_patients_together():
    found = read_classes(CXR)
    parts = split_cases(found)
    assert {name: len(cases) for name, cases in parts.items()} == {
        "train": 622,
        "val": 105,
        "test": 96,
    }
    assert found.classes == ("No_findings", "Pneumonia")
    patients = {name: {c.group for c in cases} for name, cases in parts.items()}
    assert not patients["train"] & patients["test"]
    assert not patients["train"] & patients["val"]
    assert not patients["val"] & patients["test"]


def test_a_table_without_a_patient_column_says_what_was_assumed(tmp_path):
    rows = "a.png,x{0}\nb.png,y{0}\nc.png,x{0}\n"
    assert read_classes(table(tmp_path / "a", "image,class\n" + rows.format(""))).assumption
    named = read_classes(table(tmp_path / "b", "image,class,patient\n" + rows.format(",7")))
    assert named.assumption == ""
