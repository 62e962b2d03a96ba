"""Where labelled cases come from, and that a group never crosses a split."""

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import choose_cases, read_cases, split_cases, split_ids
from MedLLMSegLib.io.itk_images import volume_to_image
from Testing.helpers.labelled_files import (
    GRID,
    SHAPE,
    add_case,
    groups_in,
    labels_of,
    rewrite,
    write_json,
)


def split_file(content):
    return lambda data: write_json(data, "splits.json", content)


def with_nan(folder):
    (folder / "hippocampus_003.nii.gz").unlink()
    labels = labels_of().astype(np.float32)
    labels[0, 0, 0] = np.nan
    sitk.WriteImage(volume_to_image(Volume(labels, GRID)), str(folder / "hippocampus_003.nrrd"))


def test_a_decathlon_folder(decathlon):
    write_json(
        decathlon,
        "dataset.json",
        {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}},
    )
    found = read_cases(decathlon)
    assert [c.id for c in found.cases] == [f"hippocampus_{n:03}" for n in range(1, 7)]
    assert found.labels == {1: "Anterior", 2: "Posterior"}
    assert found.splits is None
    assert [c.group for c in found.cases] == [f"hippocampus head {n}" for n in (1, 1, 2, 2, 3, 3)]
    write_json(
        decathlon, "dataset.json", {"labels": {"background": 0, "Anterior": 1, "Posterior": 2}}
    )  # nnU-Net's way
    assert read_cases(decathlon).labels == {1: "Anterior", 2: "Posterior"}


def test_without_names_the_labels_are_numbered_unless_given(decathlon):
    assert read_cases(decathlon).labels == {1: "label_1", 2: "label_2"}
    assert read_cases(decathlon, {1: "head", 2: "tail"}).labels == {1: "head", 2: "tail"}


def test_stated_splits_may_list_groups(tmp_path):
    for patient in (1, 2, 3):
        for frame in (1, 9):
            add_case(tmp_path, f"patient{patient:03}_frame{frame:02}")
    write_json(
        tmp_path,
        "splits.json",
        {
            "groups": {"patient001": "NOR"},
            "train": ["patient001"],
            "val": ["patient002"],
            "test": ["patient003"],
        },
    )
    parts = split_cases(read_cases(tmp_path))
    assert [c.id for c in parts["test"]] == ["patient003_frame01", "patient003_frame09"]
    assert groups_in(parts["train"]) == {"patient001"}
    assert groups_in(parts["val"]) == {"patient002"}
    assert (
        split_ids(tmp_path, "test")
        == choose_cases(tmp_path)
        == ["patient003_frame01", "patient003_frame09"]
    )


def test_structures_whose_names_differ_in_signs_only_are_refused(decathlon):
    write_json(decathlon, "dataset.json", {"labels": {"1": "Lesion <5 mm", "2": "Lesion >5 mm"}})
    with pytest.raises(
        UserError, match='"Lesion <5 mm" and "Lesion >5 mm", whose names differ only in punctuation'
    ):
        read_cases(decathlon)


def test_a_slip_of_the_brush_is_named(decathlon):
    (decathlon / "dataset.json").unlink(missing_ok=True)
    labels = labels_of()
    labels[0, 0, 0] = 7
    add_case(decathlon, "hippocampus_004", labels)
    with pytest.raises(UserError, match="label value 7 is in hippocampus_004 only"):
        read_cases(decathlon)


@pytest.mark.parametrize(
    "harm, sentence",
    [
        (
            lambda data: (data / "imagesTr/hippocampus_003.nii.gz").unlink(),
            '"hippocampus_003" has no file in .*imagesTr',
        ),
        (
            split_file({"train": ["hippocampus_001"], "val": ["hippocampus_002"]}),
            (
                '"hippocampus head 1" is in two splits .*"hippocampus_001" in train,'
                ' "hippocampus_002" in val'
            ),
        ),
        (
            split_file({"train": ["hippocampus_009"], "val": ["hippocampus_001"]}),
            '"hippocampus_009" under "train"',
        ),
        (split_file({"trian": []}), 'no lists "train"'),
        (
            split_file({"train": ["hippocampus_001"], "validation": ["hippocampus_003"]}),
            'has the list "validation"',
        ),
        (split_file(["hippocampus_001"]), "no JSON object"),
        (lambda data: (data / "splits.json").write_text("{"), "could not be read as JSON"),
        (
            lambda data: write_json(data, "dataset.json", {"labels": ["Anterior"]}),
            'The entry "labels"',
        ),
        (
            lambda data: write_json(
                data, "dataset.json", {"labels": {"0": "background", "17": "Left hippocampus"}}
            ),
            "values of .* are 17, and 1, 2, 3",
        ),
        (
            rewrite(labels_of() * 100),
            "value 100 is in .* only, and the values of all cases are 1, 2, 100, 200, where",
        ),
        (rewrite(labels_of() * np.float32(0.5)), "not whole numbers"),
        (lambda data: with_nan(data / "labelsTr"), "not whole numbers"),
        (lambda data: [p.unlink() for p in (data / "labelsTr").iterdir()], "no labelled case"),
        (lambda data: (data / "imagesTr").rename(data / "images"), "no folder imagesTr"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(decathlon, harm, sentence):
    harm(decathlon)
    with pytest.raises(UserError, match=sentence):
        read_cases(decathlon)


def test_no_labelled_voxel_in_any_case(tmp_path):
    for name in "ab":
        add_case(tmp_path, name, np.zeros(SHAPE, np.uint8))
    with pytest.raises(UserError, match="label maps of all 2 cases are empty"):
        read_cases(tmp_path)


def test_what_is_no_source_of_cases(tmp_path):
    with pytest.raises(UserError, match="no file or folder"):
        read_cases(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no labelled cases"):
        read_cases(tmp_path)
    (tmp_path / "cases.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match="not a table of cases"):
        read_cases(tmp_path / "cases.xlsx")
