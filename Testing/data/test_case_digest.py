"""A scan is recognised whatever its file is called and however it is stored; another one is not."""

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib import Volume, load_volume
from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.data.case import Case
from MedLLMSegLib.data.case_digest import (
    case_marks,
    image_marks,
    measured_marks,
    person_digest,
    scan_digest,
)
from MedLLMSegLib.data.image_table import ImageCase
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases, started_from

VALUES = np.random.default_rng(5).integers(-900, 2000, (7, 9, 11)).astype(np.int16)


def saved(path, array=VALUES, spacing=(0.9375, 0.625, 2.5), angle=0.3):
    """A turned scan in a file."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    cos, sin = np.cos(angle), np.sin(angle)
    image.SetDirection([cos, -sin, 0, sin, cos, 0, 0, 0, -1])
    image.SetOrigin((-12.3, 45.6, 7.8))
    sitk.WriteImage(image, str(path))
    return path


def digest(path):
    return scan_digest(load_volume(path))


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz", "b.nrrd", "b.mha", "renamed.nrrd"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_a_scan_that_was_saved_again_is_the_same(tmp_path, name, dtype):
    first = digest(saved(tmp_path / "a.nii.gz"))
    assert digest(saved(tmp_path / name, VALUES.astype(dtype))) == first
    assert len(first) == 16


def test_stored_with_other_axes_it_is_the_same(tmp_path):
    scan = load_volume(saved(tmp_path / "a.nrrd"))
    order = AxisOrder.of(scan.grid)
    grid = order.ordered_grid(scan.grid)
    assert not order.changes_nothing
    assert scan_digest(Volume(order.ordered(scan.array), grid.ijk_to_ras)) == scan_digest(scan)


def test_another_scan_is_another(tmp_path):
    first = digest(saved(tmp_path / "a.nrrd"))
    other = VALUES.copy()
    other[3, 4, 5] += 1
    assert digest(saved(tmp_path / "b.nrrd", other)) != first
    assert digest(saved(tmp_path / "c.nrrd", VALUES[:, ::-1])) != first
    assert digest(saved(tmp_path / "d.nrrd", spacing=(0.9375, 0.625, 3.0))) != first


@pytest.mark.parametrize(
    "size", [0.3, 0.4688, 0.5, 0.625, 0.75, 0.8, 0.9375, 1, 1.25, 1.5, 2, 3, 10]
)
def test_a_voxels_size_may_be_rounded(size):
    """As formats with float32 or text do: no usual size lies at the border of a step."""
    one, other = (Volume(VALUES, np.diag([s, s, s, 1])) for s in (size, np.float32(size) * 1.0002))
    assert scan_digest(one) == scan_digest(other)


def test_a_person_is_recognised_in_another_scan(tmp_path):
    label = saved(tmp_path / "label.nrrd", (VALUES > 0).astype(np.uint8))
    first = Case("one", saved(tmp_path / "a.nrrd"), label, "Eva")
    second = Case("two", saved(tmp_path / "b.nrrd", VALUES + 1), label, "Eva")
    alone = Case("three", second.image, label, "three")  # nobody is named
    assert case_marks(first).persons == {person_digest("Eva")}
    assert case_marks(alone).persons == frozenset()
    seen = SeenCases(train=case_marks(first), known=True)
    measured = {case.id: case_marks(case) for case in (first, second, alone)}
    assert seen.among(measured) == ["one", "two"]


def test_a_scan_counts_as_seen_where_a_model_learnt_from_its_label_map(tmp_path):
    label = saved(tmp_path / "label.nrrd", (VALUES > 0).astype(np.uint8))
    case = Case("one", saved(tmp_path / "a.nrrd"), label, "one")
    maps = SeenCases(train=Marks(frozenset({digest(label)})), known=True)
    assert maps.among({"one": measured_marks(case, load_volume(case.image))}) == ["one"]
    assert maps.among({"one": case_marks(case)}) == []


def test_a_fine_tuned_model_has_seen_what_its_base_had(tmp_path):
    base = SeenCases(Marks(frozenset("a")), Marks(frozenset("b")), Marks(frozenset("c")), True)
    assert started_from(base).all.scans == {"a", "b", "c"}
    assert started_from(base).known and started_from(None).known
    same = started_from(base, Marks(frozenset("bx")))  # chosen by the same val case again
    assert same.before.scans == {"a", "c"}
    trained = started_from(base, Marks(frozenset("ac")))  # which were trained on, whatever is said
    assert trained.before.scans == {"a", "b", "c"}
    assert not started_from(SeenCases()).known


def test_a_picture_is_recognised_as_png_or_bmp(tmp_path):
    grey = np.random.default_rng(1).integers(0, 256, (40, 50)).astype(np.uint8)
    cases = []
    for name in ("a.png", "renamed.png", "b.tif"):
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / name))
        cases.append(ImageCase(name, tmp_path / name, 0, name, {}))
    assert len({next(iter(image_marks(case).scans)) for case in cases}) == 1
