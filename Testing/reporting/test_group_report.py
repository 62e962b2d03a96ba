"""The report of many structures: groups in the table, planes that show them, 3D from within."""

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.image import imread

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import cardiac_structures, hippocampus_structures
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.reporting import group_pictures
from MedLLMSegLib.reporting.scan_report import write_report
from MedLLMSegLib.reporting.structure_masks import structure_masks
from MedLLMSegLib.reporting.volume_table import volume_table


def made_up_brain() -> tuple[Volume, Segmentation]:
    """2 mm, i to the right: fluid around cortex around white matter, two thalami, a brain stem."""
    shape = (44, 50, 44)
    k, j, i = np.indices(shape)
    radius = np.sqrt((k - 22) ** 2 + (j - 25) ** 2 + (i - 21.5) ** 2)
    left = i < 21.5
    labels = np.zeros(shape, np.uint8)
    for outer, left_number, right_number in ((20, 24, 24), (19, 3, 42), (15, 2, 41)):
        labels[radius < outer] = np.where(left, left_number, right_number)[radius < outer]
    for centre, number in ((14, 10), (29, 49)):
        labels[(k - 22) ** 2 + (j - 25) ** 2 + (i - centre) ** 2 < 25] = number
    labels[:10, 22:28, 18:26] = 16
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = (-43.0, -50.0, -44.0)
    volume = Volume(labels.astype(np.float32) + radius.astype(np.float32), matrix, "brain")
    confidence = {s.label: 0.9 for s in brain_structures()}
    return volume, Segmentation(volume.with_array(labels), brain_structures(), confidence)


@pytest.fixture(scope="module")
def brain():
    volume, segmentation = made_up_brain()
    ml = float((segmentation.labels.array > 0).sum() * 0.008)
    return volume, replace(segmentation, intracranial=IntracranialVolume(ml))


def rows_of(html: str) -> dict[str, list[str]]:
    """First cell -> the others, without tags."""
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in html.split("<tr")]
    cells = [[re.sub(r"<[^>]+>", "", cell) for cell in row] for row in rows if row]
    return {row[0]: row[1:] for row in cells}


def test_the_table_has_groups_with_sums_and_the_intracranial_volume(brain):
    _, segmentation = brain
    rows = rows_of(volume_table(segmentation))
    assert rows["Structure"] == [
        "Volume (mL)", "Of the intracranial volume", "Left - right asymmetry", "Mean confidence",
    ]  # fmt: skip
    assert len(rows) == 1 + 32 + 5 + 1
    volumes = segmentation.volumes_ml
    deep = volumes["left_thalamus"] + volumes["right_thalamus"]
    assert float(rows["Deep grey"][0]) == pytest.approx(deep, abs=0.06)
    left = volumes["left_thalamus"]
    assert rows["Left thalamus"] == [
        f"{left:.3f}", f"{100 * left / segmentation.intracranial.ml:.2f} %", "+0.0 %", "90 %",
    ]  # fmt: skip
    assert rows["Right thalamus"][2] == ""  # said once for both sides
    assert rows["Left amygdala"][2] == "–"
    assert float(rows["Intracranial volume"][0]) == pytest.approx(
        segmentation.intracranial.ml, 0.01
    )


def test_why_there_is_no_intracranial_volume_is_said(brain):
    _, segmentation = brain
    off = replace(segmentation, intracranial=IntracranialVolume(None, "the skull is <off>"))
    rows = rows_of(volume_table(off))
    assert rows["Intracranial volume"] == ["not available (the skull is &lt;off&gt;)"]
    assert rows["Left thalamus"][1] == "–"


def test_small_models_keep_their_columns_and_subfields_get_an_asymmetry():
    labels = Volume(np.array([[[1, 1, 2, 3]]], np.uint8), np.eye(4))
    heart = rows_of(volume_table(Segmentation(labels, cardiac_structures())))
    assert heart["Structure"] == ["Volume (mL)", "Mean confidence"]
    subfields = rows_of(volume_table(Segmentation(labels, hippocampus_structures(True))))
    assert subfields["Structure"][1] == "Left - right asymmetry"
    assert subfields["Left hippocampus (anterior)"][1] == "+66.7 %"
    assert subfields["Left hippocampus"] == ["0.003", "", ""]


def test_planes_go_through_structures_and_not_between_the_halves(brain):
    volume, segmentation = brain
    masks = structure_masks(segmentation)
    pictures = dict(group_pictures.group_slices(volume, masks))
    assert list(pictures) == ["All structures", "Group by group"]
    groups = {mask.structure.group for mask in masks.values()}
    assert len(pictures["Group by group"].axes) == 3 * len(groups)
    sagittal = {
        text.get_text(): panel
        for panel in pictures["Group by group"].axes
        for text in panel.texts
    }  # fmt: skip
    row = pictures["Group by group"].axes.index(sagittal["Deep grey"])
    outlined = pictures["Group by group"].axes[row + 2].collections
    assert len(outlined) == 1  # the sagittal plane cuts one thalamus


def test_the_fluid_hides_nothing_in_the_3d_views(brain, monkeypatch):
    _, segmentation = brain
    monkeypatch.setattr(
        group_pictures, "surface_picture", lambda parts: {mask.structure.key for mask in parts}
    )
    views = dict(group_pictures.group_surfaces(structure_masks(segmentation)))
    assert views == {
        "3D view": {"left_cerebral_cortex", "right_cerebral_cortex", "brain_stem"},
        "3D view of the inside": {"left_thalamus", "right_thalamus"},
    }


def test_the_page_shows_the_whole_first_and_then_the_table(brain, tmp_path, monkeypatch):
    # test_scan_report.py draws surfaces; here only their places on the page matter
    monkeypatch.setattr(group_pictures, "surface_picture", lambda parts: Figure((1, 1)))
    volume, segmentation = brain
    html = write_report(volume, segmentation, tmp_path).read_text(encoding="utf-8")
    places = ["slices_1.png", "<table>", "slices_2.png", "surface_1.png", "surface_2.png"]
    assert sorted(places, key=html.index) == places
    assert {path.name for path in tmp_path.iterdir()} == {*places, "report.html", "report.txt"} - {
        "<table>"
    }
    assert all(imread(tmp_path / name).std() > 0.02 for name in ("slices_1.png", "slices_2.png"))


def test_an_empty_result_still_has_a_page(brain, tmp_path):
    volume, segmentation = brain
    empty = replace(
        segmentation, labels=volume.with_array(np.zeros_like(segmentation.labels.array))
    )
    html = write_report(volume, empty, tmp_path).read_text(encoding="utf-8")
    assert "The scan" in html
    assert (tmp_path / "slices_1.png").is_file()
    assert not (tmp_path / "surface_1.png").exists()
