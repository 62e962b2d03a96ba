"""The intracranial volume, and whether a scan still has its skull: synthetic and real heads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedLLMSegLib.anatomy.brain import brain_label_table, brain_structures
from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.segmentation.intracranial import (
    SKULL_OFF,
    cut_structures,
    intracranial_volume,
    skull_present,
    with_intracranial,
)
from MedLLMSegLib.segmentation.result_grid import result_grid
from MedLLMSegLib.training.synthesis.changes import without_skull
from MedLLMSegLib.training.synthesis.contrast import ContrastConfig, painted
from MedLLMSegLib.training.synthesis.draw import Draw
from MedLLMSegLib.training.synthesis.head_maps import head_map
from MedLLMSegLib.training.synthesis.pose import PosedHead
from MedLLMSegLib.training.synthesis.scanner import ScannerConfig, scanned

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SHAPE = (64, 72, 64)


def ball_head() -> np.ndarray:
    """FreeSurfer's numbers at 3 mm: a ball of brain, two hippocampi, skull, scalp and air."""
    places = np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    radius = np.sqrt((places**2).sum(0))
    labels = np.zeros(SHAPE, np.int16)
    left = places[2] < 0
    for outer, left_number, right_number in (
        (28, 507, 507), (26, 501, 501), (22, 24, 24), (21, 3, 42), (18, 2, 41), (5, 17, 53)
    ):  # fmt: skip
        labels[radius < outer] = np.where(left, left_number, right_number)[radius < outer]
    return labels


def synthetic(seed: int, skull: bool) -> tuple[Volume, Segmentation]:
    """The ball painted in a random contrast and scanned with noise, with or without its skull."""
    head, draw = head_map(ball_head()), Draw(seed, "cpu")
    there = PosedHead(*(torch.from_numpy(a) for a in (head.tissues, head.structures, head.sides)))
    if not skull:
        there = without_skull(there, head.numbers, keep_fluid=seed % 2 == 0)
    image = painted(there.tissues, head.numbers, draw, ContrastConfig())
    image = scanned(image, draw, ScannerConfig(thick=0, coarse=0))
    volume = Volume(image.numpy(), np.diag([3.0, 3.0, 3.0, 1.0]))
    labels = brain_label_table()[there.structures.numpy(), (there.sides == 2).numpy().astype(int)]
    return volume, Segmentation(volume.with_array(labels), brain_structures())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("skull", [True, False])
def test_a_skull_is_seen_in_any_contrast(seed, skull):
    volume, segmentation = synthetic(seed, skull)
    assert skull_present(volume, segmentation) is skull
    inverted = volume.with_array(volume.array.max() - volume.array)
    assert skull_present(inverted, segmentation) is skull


def test_the_intracranial_volume_is_the_sum_of_all_structures():
    volume, segmentation = synthetic(1, skull=True)
    found = intracranial_volume(volume, segmentation)
    assert found.ml == pytest.approx((segmentation.labels.array > 0).sum() * 0.027)
    assert found.why_not == ""


@pytest.mark.parametrize("skull", [True, False])
def test_the_result_may_have_other_voxels_than_the_scan(skull):
    volume, segmentation = synthetic(1, skull)
    fine = result_grid(volume, 2.0)
    labels = resample(segmentation.labels.array, volume.grid, fine, order=0)
    finer = replace(segmentation, labels=Volume(labels, fine.ijk_to_ras))
    assert skull_present(volume, finer) is skull
    found = with_intracranial(volume, finer)
    assert (found.intracranial.ml is not None) is skull
    if skull:
        coarse = intracranial_volume(volume, segmentation)
        assert found.intracranial.ml == pytest.approx(coarse.ml, rel=0.03)


def test_it_is_not_available_without_a_skull_or_where_the_view_cuts_the_brain():
    volume, segmentation = synthetic(1, skull=False)
    off = intracranial_volume(volume, segmentation)
    assert off.ml is None
    assert "skull" in off.why_not
    volume, segmentation = synthetic(1, skull=True)
    cut = intracranial_volume(volume, segmentation, "the field of view cuts the cerebellum")
    assert (cut.ml, cut.why_not) == (None, "the field of view cuts the cerebellum")


def test_a_model_of_less_than_the_brain_has_none():
    volume, segmentation = synthetic(1, skull=True)
    part = Segmentation(segmentation.labels, hippocampus_structures(True))
    assert intracranial_volume(volume, part) is None


def cropped(result: tuple[Volume, Segmentation], first_k: int) -> tuple[Volume, Segmentation]:
    """A scan whose field of view begins at a slice, and its segmentation."""
    volume, segmentation = result
    low = volume.with_array(volume.array[first_k:])
    return low, replace(segmentation, labels=low.with_array(segmentation.labels.array[first_k:]))


def test_what_the_field_of_view_cuts_is_named_and_spoils_the_intracranial_volume():
    whole = synthetic(1, skull=True)
    assert cut_structures(whole[1]) == ()
    found = with_intracranial(*cropped(whole, 20))
    assert {s.key for s in cut_structures(found)} == {
        "csf", "left_cerebral_cortex", "right_cerebral_cortex",
        "left_cerebral_white_matter", "right_cerebral_white_matter",
    }  # fmt: skip
    assert found.intracranial.ml is None
    assert "left cerebral cortex" in found.intracranial.why_not
    (note,) = found.notes
    assert note.startswith("The field of view cuts the brain (left cerebral white matter, right")
    assert "CSF" in note


def test_what_was_not_asked_for_is_not_named_where_it_is_cut():
    volume, segmentation = cropped(synthetic(1, skull=True), 20)
    by_key = {s.key: s for s in segmentation.structures}
    found = with_intracranial(volume, segmentation, [by_key["left_cerebral_cortex"]])
    (note,) = found.notes
    assert note.startswith("The field of view cuts the brain (left cerebral cortex): what")
    assert found.intracranial.why_not == "the field of view cuts the brain (left cerebral cortex)"
    none = with_intracranial(volume, segmentation, [by_key["left_hippocampus"]])
    assert none.notes == ()
    assert none.intracranial.why_not == "the field of view cuts the brain"


def test_fluid_at_the_edge_is_a_cut_where_there_is_a_skull_alone():
    for skull, why in ((True, "the field of view cuts the brain (CSF)"), (False, SKULL_OFF)):
        volume, segmentation = synthetic(1, skull=skull)
        segmentation.labels.array[0, :8, :8] = 24
        found = with_intracranial(volume, segmentation)
        assert found.intracranial.why_not == why
        assert len(found.notes) == skull


def test_a_whole_head_gets_its_volume_and_no_note():
    volume, segmentation = synthetic(1, skull=True)
    found = with_intracranial(volume, segmentation)
    assert found.intracranial == intracranial_volume(volume, segmentation)
    assert found.intracranial.ml > 0
    assert found.notes == ()
    part = Segmentation(segmentation.labels, hippocampus_structures(True))
    assert with_intracranial(volume, part) is part


def test_a_few_voxels_at_the_edge_are_no_cut():
    _volume, segmentation = synthetic(1, skull=True)
    segmentation.labels.array[0, 0, :5] = 24  # 45 mm2
    assert cut_structures(segmentation) == ()
    segmentation.labels.array[0, 0, :6] = 24
    assert [s.key for s in cut_structures(segmentation)] == ["csf"]


def test_an_empty_result_and_a_view_that_ends_at_the_brain_are_no_skull():
    volume, segmentation = synthetic(1, skull=True)
    nothing = segmentation.labels.with_array(np.zeros(SHAPE, np.uint8))
    assert not skull_present(volume, Segmentation(nothing, brain_structures()))
    full = segmentation.labels.with_array(np.full(SHAPE, 2, np.uint8))
    assert not skull_present(volume, Segmentation(full, brain_structures()))


@pytest.mark.parametrize(
    "folder, labels, skull",
    [("oasis_brains/images", "oasis_brains/labels", False),
     ("elderly_heads/t1", "elderly_heads/labels", True)],
)  # fmt: skip
def test_real_heads(folder, labels, skull):
    if not (DATA / folder).is_dir():
        pytest.skip(f"{DATA / folder} is missing: NO REAL HEAD WAS TESTED")
    for path in sorted((DATA / folder).iterdir())[:2]:
        volume, truth = load_volume(path), load_volume(DATA / labels / path.name)
        mask = truth.with_array((truth.array > 0).astype(np.uint8))
        assert skull_present(volume, Segmentation(mask, brain_structures())) is skull
