"""Where labelled cases come from, and that a group never crosses a split."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib import UserError, load_volume, save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import (
    Case,
    CaseSet,
    choose_cases,
    folds,
    group_of,
    read_cases,
    read_label_map,
    split_cases,
    split_ids,
)
from MedLLMSegLib.data.label_checks import whole_numbers
from MedLLMSegLib.io.itk_images import volume_to_image

HIPPOCAMPUS = Path(__file__).parents[3] / "shared/data/hippocampus"
GRID = np.diag([-0.7, 1.3, 2.6, 1.0])  # left-handed, anisotropic
GRID[:3, 3] = [10, 20, -30]
SHAPE = (6, 7, 8)


def labels_of(n=0):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:4, 3:6], labels[4, 5, 1 + n % 4] = 1, 2
    return labels


def add_case(folder, name, labels=None, matrix=GRID):
    add_volume(folder / f"imagesTr/{name}.nii.gz")
    save_volume(
        Volume(labels_of() if labels is None else labels, matrix),
        folder / f"labelsTr/{name}.nii.gz",
    )


@pytest.fixture
def decathlon(tmp_path):
    for n in range(1, 7):
        add_case(tmp_path / "data", f"hippocampus_{n:03}")
    return tmp_path / "data"


def write_json(folder, name, content):
    (folder / name).write_text(json.dumps(content))


def case_set(groups, splits=None):
    """groups: one name a case"""
    cases = tuple(
        Case(f"c{n}", Path(f"{n}.nii"), Path(f"{n}_l.nii"), group) for n, group in enumerate(groups)
    )
    return CaseSet(Path("data"), cases, {1: "organ"}, splits)


def groups_in(cases):
    return {case.group for case in cases}


# --- the Decathlon's folders ---


def test_a_decathlon_folder(decathlon):
    write_json(
        decathlon,
        "dataset.json",
        {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}},
    )
    found = read_cases(decathlon)
    assert [c.id for c in found.cases] == [f"hippocampus_{n:03}" for n in range(1, 7)]
    assert found.labels == {1: "Anterior", 2: "Posterior"} and found.splits is None
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
    assert groups_in(parts["train"]) == {"patient001"} and groups_in(parts["val"]) == {"patient002"}
    assert (
        split_ids(tmp_path, "test")
        == choose_cases(tmp_path)
        == ["patient003_frame01", "patient003_frame09"]
    )


def test_a_stated_split_without_val_draws_it_from_train(decathlon):
    write_json(
        decathlon,
        "splits.json",
        {"train": ["hippocampus_001", "hippocampus_002", "hippocampus_003"], "test": []},
    )
    parts = split_cases(read_cases(decathlon))
    assert {c.id for c in parts["train"] + parts["val"]} == {
        "hippocampus_001",
        "hippocampus_002",
        "hippocampus_003",
    }
    assert (
        groups_in(parts["train"]).isdisjoint(groups_in(parts["val"]))
        and parts["train"]
        and parts["val"]
    )
    write_json(decathlon, "splits.json", {"test": ["hippocampus_001", "hippocampus_002"]})
    parts = split_cases(read_cases(decathlon))
    assert len(parts["train"] + parts["val"]) == 4 and len(parts["test"]) == 2


def test_structures_whose_names_differ_in_signs_only_are_refused(decathlon):
    write_json(decathlon, "dataset.json", {"labels": {"1": "Lesion <5 mm", "2": "Lesion >5 mm"}})
    with pytest.raises(
        UserError, match='"Lesion <5 mm" and "Lesion >5 mm", whose names differ in signs'
    ):
        read_cases(decathlon)


def test_what_a_files_scaling_leaves_of_a_whole_number_is_one(tmp_path):
    assert whole_numbers(np.array([0.0, 1.0000153, 1.99999]), tmp_path).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="no whole numbers"):
        whole_numbers(np.array([0.0, 1.01]), tmp_path)


def test_a_slip_of_the_brush_is_named(decathlon):
    (decathlon / "dataset.json").unlink(missing_ok=True)
    labels = labels_of()
    labels[0, 0, 0] = 7
    add_case(decathlon, "hippocampus_004", labels)
    with pytest.raises(UserError, match="label value 7 is in hippocampus_004 only"):
        read_cases(decathlon)


def test_a_column_patient_is_the_group(tmp_path):
    for name in "abc":
        add_volume(tmp_path / f"scans/{name}.nrrd")
        save_volume(Volume(labels_of(), GRID), tmp_path / f"scans/{name}_labels.nrrd")
    rows = "".join(
        f"scans/{name}.nrrd,scans/{name}_labels.nrrd,{patient}\n"
        for name, patient in zip("abc", ("p", "p", "q"))
    )
    (tmp_path / "cases.csv").write_text("image,label,Patient\n" + rows)
    assert [case.group for case in read_cases(tmp_path / "cases.csv").cases] == ["p", "p", "q"]


def test_the_other_cases_of_a_listed_group_are_not_trained_on(decathlon):
    write_json(decathlon, "splits.json", {"test": ["hippocampus_001"], "val": ["hippocampus_003"]})
    parts = split_cases(read_cases(decathlon))
    assert {c.id for c in parts["train"]} == {"hippocampus_005", "hippocampus_006"}
    assert [len(parts[name]) for name in ("val", "test")] == [1, 1]


@pytest.mark.skipif(
    not HIPPOCAMPUS.is_dir(), reason="NOT TESTED: shared/data/hippocampus is not here"
)
def test_the_shared_hippocampus_splits_keep_heads_together():
    parts = split_cases(read_cases(HIPPOCAMPUS, {1: "Anterior", 2: "Posterior"}))
    assert [len(parts[name]) for name in ("train", "val", "test")] == [156, 26, 32]
    assert groups_in(parts["train"]).isdisjoint(groups_in(parts["val"]) | groups_in(parts["test"]))


def split_file(content):
    return lambda data: write_json(data, "splits.json", content)


def rewrite(labels, matrix=GRID):
    return lambda data: save_volume(
        Volume(labels, matrix), data / "labelsTr/hippocampus_003.nii.gz"
    )


def with_nan(folder):
    (folder / "hippocampus_003.nii.gz").unlink()
    labels = labels_of().astype(np.float32)
    labels[0, 0, 0] = np.nan
    sitk.WriteImage(volume_to_image(Volume(labels, GRID)), str(folder / "hippocampus_003.nrrd"))


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
        (rewrite(labels_of() * np.float32(0.5)), "no whole numbers"),
        (lambda data: with_nan(data / "labelsTr"), "no whole numbers"),
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


def shifted(mm):
    matrix = GRID.copy()
    matrix[0, 3] += mm
    return matrix


@pytest.mark.parametrize(
    "labels, matrix, sentence",
    [
        (labels_of(), shifted(0.4), "lies up to 0.4 mm beside its image"),
        (labels_of()[1:], GRID, "8 x 7 x 5 voxels and its image 8 x 7 x 6"),
        (labels_of() + np.float32(0.25), GRID, "no whole numbers"),
        (
            labels_of() * 7,
            GRID,
            '"hippocampus_003" has the value 7, which no structure has .*1 front, 2 back',
        ),
    ],
)
def test_a_label_map_that_does_not_fit_its_image(decathlon, labels, matrix, sentence):
    rewrite(labels, matrix)(decathlon)
    found = read_cases(decathlon, {1: "front", 2: "back"})
    with pytest.raises(UserError, match=sentence):
        read_label_map(found.cases[2], found, load_volume(found.cases[2].image))
    good = read_label_map(found.cases[0], found, load_volume(found.cases[0].image))
    assert np.array_equal(good, labels_of()) and good.dtype == np.uint8


def test_what_is_no_source_of_cases(tmp_path):
    with pytest.raises(UserError, match="no file or folder"):
        read_cases(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no labelled cases"):
        read_cases(tmp_path)
    (tmp_path / "cases.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match="no table of cases"):
        read_cases(tmp_path / "cases.xlsx")


# --- tables ---


@pytest.fixture
def table(tmp_path):
    """table(text, encoding) -> path of a CSV beside scans a to d and their label maps"""
    for n, name in enumerate("abcd"):
        save_volume(Volume(np.zeros(SHAPE, np.float32), GRID), tmp_path / f"scans/{name}.nrrd")
        save_volume(Volume(labels_of(n), GRID), tmp_path / f"scans/{name}_labels.nrrd")

    def write(text, encoding="utf-8"):
        path = tmp_path / "cases.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


def line(name, *more):
    return ",".join([f"scans/{name}.nrrd", f"scans/{name}_labels.nrrd", *more]) + "\n"


def test_a_table_with_relative_paths_and_groups(table, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)  # paths start at the table's folder, not here
    found = read_cases(
        table(
            "image,label,group\n" + line("a", "anna") + line("b", "anna") + "\n" + line("c", "ben")
        )
    )
    assert [(c.id, c.group) for c in found.cases] == [("a", "anna"), ("b", "anna"), ("c", "ben")]
    assert found.cases[0].image == tmp_path / "scans/a.nrrd" and found.labels == {
        1: "label_1",
        2: "label_2",
    }
    assert found.splits is None


def test_a_table_as_a_spreadsheet_saves_it(table, tmp_path):
    text = "Image;Label;ID;Split;remark\n" + "".join(
        f"{tmp_path}/scans/{name}.nrrd;{tmp_path}/scans/{name}_labels.nrrd;case {name}; {split}"
        " ;x\n"
        for name, split in zip("abc", ("train", "val", "test"))
    )
    found = read_cases(table(text, "utf-8-sig"))
    assert found.splits == {"train": ("case a",), "val": ("case b",), "test": ("case c",)}
    assert [c.group for c in found.cases] == [
        "case a",
        "case b",
        "case c",
    ]  # alone, as nothing else is said


def test_only_ends_of_line_end_a_row(table):
    """Not what else Unicode calls one, nor a line break within quotes; rows are counted as a
    spreadsheet counts them.
    """
    text = (
        "image,label,group,remark\n"
        + line("a", "anna\u2028b", "x\x85y")
        + line("b", "ben", '"two\nlines"')
    )
    assert [c.group for c in read_cases(table(text)).cases] == ["anna\u2028b", "ben"]
    with pytest.raises(UserError, match="Row 4 of .* has no label"):
        read_cases(table(text + "scans/c.nrrd\n"))


def test_a_quote_that_is_never_closed_is_one_sentence(table):
    with pytest.raises(UserError, match="could not be read; save it as CSV"):
        read_cases(table("image,label\n" + line("a") + '"' + "x" * 200_000))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("image,labels\n" + line("a"), 'no column "label"'),
        ("", 'no column "image"'),
        ("image,label\n", "no labelled case"),
        (
            "image,label\n" + line("a") + line("gone"),
            'Row 3 of .* names the image "scans/gone.nrrd", and there is no file',
        ),
        (
            "image,label\n" + line("a") + "\nscans/b.nrrd,scans/x.nrrd\n",
            "Row 4 of .* names the label",
        ),
        ("image,label\n" + line("a") + "scans/b.nrrd\n", "Row 3 of .* has no label"),
        ("image,label\n" + line("a") + line("b") + line("a"), 'Rows 2 and 4 of .* both called "a"'),
        (
            "image,label,id\n" + line("a", "x") + line("b", "x"),
            'Rows 2 and 3 of .* both called "x"',
        ),
        (
            "image,label,group,split\n"
            + line("a", "p", "train")
            + line("b", "q", "val")
            + line("c", "p", "val"),
            'group "p" is in two splits of .*row 2 says train, row 4 says val',
        ),
        (
            "image,label,split\n" + line("a", "train") + line("b", "validate"),
            'Row 3 of .* has the split "validate"',
        ),
        ("image,label,split\n" + line("a", "train") + line("b", ""), "Row 3 of .* has no split"),
    ],
)
def test_a_table_that_cannot_be_used_names_the_row(table, text, sentence):
    with pytest.raises(UserError, match=sentence):
        read_cases(table(text))


# --- Slicer's segmentations (real files of Slicer's own writer:
# slicer_bridge/test_segmentation_cases.py) ---


def write_segmentation(path, layers, segments, matrix=GRID):
    """layers: arrays [k, j, i]. segments: (name, layer, value); layer None writes neither, as
    old Slicers did.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [volume_to_image(Volume(layer, matrix)) for layer in layers]
    image = sitk.Compose(images) if len(images) > 1 else images[0]
    for n, (name, layer, value) in enumerate(segments):
        image.SetMetaData(f"Segment{n}_ID", f"Segment_{n}")
        image.SetMetaData(f"Segment{n}_Name", name)
        if layer is not None:
            image.SetMetaData(f"Segment{n}_Layer", str(layer))
            image.SetMetaData(f"Segment{n}_LabelValue", str(value))
    sitk.WriteImage(image, str(path), useCompression=True)


def add_volume(path):
    save_volume(Volume(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32), GRID), path)


def label_maps(folder, labels=None):
    found = read_cases(folder, labels)
    return found, [read_label_map(c, found, load_volume(c.image)) for c in found.cases]


TWO = [("Left ventricle", 0, 1), ("Myokardium größer", 0, 2)]


def test_segments_are_known_by_name_whatever_their_values(tmp_path):
    add_volume(tmp_path / "a.nii.gz")
    add_volume(tmp_path / "b.mha")
    add_volume(tmp_path / "unlabelled.nrrd")
    write_segmentation(tmp_path / "a.seg.nrrd", [labels_of()], TWO)
    other = np.select([labels_of() == 1, labels_of() == 2], [9, 4]).astype(np.uint8)
    write_segmentation(
        tmp_path / "b.seg.nrrd", [other], [("Myokardium  Größer ", 0, 4), ("left ventricle", 0, 9)]
    )
    found, maps = label_maps(tmp_path)
    assert [c.id for c in found.cases] == ["a", "b"]
    assert found.labels == {1: "Left ventricle", 2: "Myokardium größer"}
    for labels in maps:
        assert np.array_equal(labels, labels_of())


def test_a_cropped_segmentation_takes_its_place(tmp_path):
    add_volume(tmp_path / "a.nrrd")
    add_volume(tmp_path / "b.nrrd")
    box = (slice(1, 5), slice(2, 6), slice(0, 7))
    moved = GRID.copy()
    moved[:3, 3] = (GRID @ [0, 2, 1, 1])[:3]
    write_segmentation(tmp_path / "a.seg.nrrd", [labels_of()[box]], TWO, moved)
    around = np.pad(labels_of(), 2)  # and one that reaches beyond the volume
    moved = GRID.copy()
    moved[:3, 3] = (GRID @ [-2, -2, -2, 1])[:3]
    write_segmentation(tmp_path / "b.seg.nrrd", [around], TWO, moved)
    for labels in label_maps(tmp_path)[1]:
        assert np.array_equal(labels, labels_of())


def test_layers_that_do_not_overlap_are_joined(tmp_path):
    for name in "ab":
        add_volume(tmp_path / f"{name}.nrrd")
    layers = [(labels_of() == v).astype(np.uint8) for v in (1, 2)]
    write_segmentation(tmp_path / "a.seg.nrrd", layers, [("x", 0, 1), ("y", 1, 1)])
    write_segmentation(
        tmp_path / "b.seg.nrrd", layers, [("x", None, 0), ("y", None, 0)]
    )  # as Slicer 4.10 wrote it
    for labels in label_maps(tmp_path)[1]:
        assert np.array_equal(labels, labels_of())


def test_a_folder_for_each_case_as_slicer_saves_scenes(tmp_path):
    for name in ("anna", "ben"):
        add_volume(tmp_path / name / "MRHead.nrrd")
        write_segmentation(tmp_path / name / "Segmentation.seg.nrrd", [labels_of()], TWO)
    for frame in ("ED", "ES"):
        add_volume(tmp_path / "carl" / f"{frame}.nrrd")
        write_segmentation(tmp_path / "carl" / f"{frame}.seg.nrrd", [labels_of()], TWO)
    found = read_cases(tmp_path)
    assert [(c.id, c.group) for c in found.cases] == [
        ("anna", "anna"),
        ("ben", "ben"),
        ("carl_ED", "carl"),
        ("carl_ES", "carl"),
    ]


def finer():
    matrix = GRID.copy()
    matrix[:3, :3] /= 2
    return matrix


@pytest.mark.parametrize(
    "layers, segments, matrix, sentence",
    [
        (
            [(labels_of() == 1).astype(np.uint8)] * 2,
            [("x", 0, 1), ("y", 1, 1)],
            GRID,
            '"x" and "y" of .* overlap',
        ),
        (
            [labels_of()],
            [("x", 0, 1), ("y", 0, 2)],
            finer(),
            "0.35 x 0.65 x 1.3 mm. do not lie on those of its image",
        ),
        (
            [labels_of()],
            [("x", 0, 1), ("y", 0, 2)],
            shifted(0.3),
            "do not lie on those of its image",
        ),
        (
            [labels_of()],
            [("x", 0, 1), ("y", 0, 2)],
            shifted(-3.5),
            "has 12 labelled voxels outside of its image",
        ),
        (
            [labels_of()],
            [("x", 0, 1), ("lesion", 0, 2)],
            GRID,
            'segment "lesion" of .* is none of the structures .x, y',
        ),
        ([labels_of()], [("x", 0, 1), ("y", 1, 2)], GRID, "should lie in number 2"),
        ([labels_of()], [], GRID, "names no segments"),
        ([labels_of()], [("x", "one", 1)], GRID, "header of .* is damaged"),
    ],
)
def test_a_segmentation_that_cannot_be_used_is_one_sentence(
    tmp_path, layers, segments, matrix, sentence
):
    add_volume(tmp_path / "a.nrrd")
    write_segmentation(tmp_path / "a.seg.nrrd", layers, segments, matrix)
    with pytest.raises(UserError, match=sentence):
        label_maps(tmp_path, {1: "x", 2: "y"})


def test_a_segmentation_needs_one_volume(tmp_path):
    add_volume(tmp_path / "a.nrrd")
    for name in "ab":
        write_segmentation(tmp_path / f"{name}.seg.nrrd", [labels_of()], TWO)
    with pytest.raises(UserError, match="b.seg.nrrd. has no volume of its name beside it"):
        read_cases(tmp_path)
    add_volume(tmp_path / "b.nrrd")
    add_volume(tmp_path / "b.nii.gz")
    with pytest.raises(UserError, match="b.nii.gz and b.nrrd beside it"):
        read_cases(tmp_path)


def test_a_table_may_name_segmentations_but_not_mix_them(table, tmp_path):
    write_segmentation(tmp_path / "scans/a.seg.nrrd", [labels_of()], TWO)
    text = "image,label\nscans/a.nrrd,scans/a.seg.nrrd\n"
    assert read_cases(table(text)).labels == {1: "Left ventricle", 2: "Myokardium größer"}
    with pytest.raises(UserError, match="names its structures and .* only numbers them"):
        read_cases(table(text + line("b")))
    assert (
        len(
            read_cases(table(text + line("b")), {1: "Left ventricle", 2: "Myokardium größer"}).cases
        )
        == 2
    )


# --- splits ---


def test_groups():
    assert group_of("hippocampus_001") == group_of("hippocampus_002") != group_of("hippocampus_003")
    assert group_of("patient003_frame01") == group_of("patient003_frame15") == "patient003"
    assert group_of("sub-01") == "sub-01" != group_of("sub-02")


def test_a_random_split_keeps_groups_whole_and_repeats():
    cases = case_set([f"p{n // 2}" for n in range(40)])
    parts = split_cases(cases, seed=3)
    assert (
        len(groups_in(parts["val"])) == 4
        and parts["test"] == ()
        and len(parts["train"]) + len(parts["val"]) == 40
    )
    assert groups_in(parts["train"]).isdisjoint(groups_in(parts["val"]))
    assert split_cases(cases, seed=3) == parts != split_cases(cases, seed=4)
    parts = split_cases(cases, seed=3, test_fraction=0.25)
    assert [len(groups_in(parts[name])) for name in ("train", "val", "test")] == [12, 3, 5]
    assert not groups_in(parts["test"]) & (groups_in(parts["train"]) | groups_in(parts["val"]))


def test_two_groups_are_the_fewest():
    parts = split_cases(case_set("ab"))
    assert len(parts["train"]) == len(parts["val"]) == 1
    for groups, found in (
        ("a", "1 training case of 1 group"),
        ("aaa", "3 training cases of 1 group"),
    ):
        with pytest.raises(UserError, match=found):
            split_cases(case_set(groups))
    with pytest.raises(UserError, match="0 training cases of 0 group"):
        split_cases(case_set("abc", {"train": (), "val": ()}))
    with pytest.raises(UserError, match="no case to train on"):
        split_cases(case_set("abc", {"train": (), "val": ("c1",)}))


def test_folds_test_every_case_once_and_never_share_a_group():
    cases = case_set([f"p{n // 3}" for n in range(33)])
    parts = folds(cases, 5, seed=1)
    assert sorted(c.id for part in parts for c in part["test"]) == sorted(c.id for c in cases.cases)
    for part in parts:
        assert (
            all(part[name] for name in ("train", "val", "test"))
            and sum(map(len, part.values())) == 33
        )
        train, val, test = (groups_in(part[name]) for name in ("train", "val", "test"))
        assert not train & val and not train & test and not val & test
    assert folds(cases, 5, seed=1) == parts != folds(cases, 5, seed=2)
    assert len({part["val"] for part in parts}) == 5  # no fold is chosen by the cases of another
    assert all(part["train"] for part in folds(case_set("abcd"), 4) + folds(case_set("abcd"), 2))
    for groups, count in (("abc", 2), ("aabbccdd", 5), ("abcd", 1)):
        with pytest.raises(UserError, match="folds, and at least"):
            folds(case_set(groups), count)
