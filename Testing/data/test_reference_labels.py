"""Slicer's segmentations as label maps, from files as Slicer's own writer makes them."""

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib import UserError, load_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases, read_label_map
from MedLLMSegLib.io.itk_images import volume_to_image
from Testing.helpers.labelled_files import GRID, add_volume, labels_of, shifted, table_row


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


def label_maps(folder, labels=None):
    found = read_cases(folder, labels)
    return found, [read_label_map(c, found, load_volume(c.image)) for c in found.cases]


TWO = [("Left ventricle", 0, 1), ("Myokardium größer", 0, 2)]


def finer():
    matrix = GRID.copy()
    matrix[:3, :3] /= 2
    return matrix


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
    with pytest.raises(UserError, match=r"b.seg.nrrd. has no volume of its name beside it"):
        read_cases(tmp_path)
    add_volume(tmp_path / "b.nrrd")
    add_volume(tmp_path / "b.nii.gz")
    with pytest.raises(UserError, match=r"b.nii.gz and b.nrrd beside it"):
        read_cases(tmp_path)


def test_a_table_may_name_segmentations_but_not_mix_them(table, tmp_path):
    write_segmentation(tmp_path / "scans/a.seg.nrrd", [labels_of()], TWO)
    text = "image,label\nscans/a.nrrd,scans/a.seg.nrrd\n"
    assert read_cases(table(text)).labels == {1: "Left ventricle", 2: "Myokardium größer"}
    with pytest.raises(UserError, match=r"names its structures and .* only numbers them"):
        read_cases(table(text + table_row("b")))
    assert (
        len(
            read_cases(
                table(text + table_row("b")), {1: "Left ventricle", 2: "Myokardium größer"}
            ).cases
        )
        == 2
    )
