"""Nodules put into a phantom: which shapes, where, and with which values."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.studies.nodules import insertion, samples
from MedLLMSegLib.studies.nodules.density import Density
from MedLLMSegLib.studies.nodules.insertion import Pose, find_place, fits, insert, place
from MedLLMSegLib.studies.nodules.samples import WINDOW, Backgrounds, NoduleWindows
from MedLLMSegLib.studies.nodules.shapes import HELD_BACK, NoduleShape, part_of, read_shapes
from MedLLMSegLib.studies.nodules.trial import with_nodules
from Testing.helpers.chest_phantom import TISSUE_HU, chest_scan

DENSE = Density(76.0, 5.0, 1.0)
COLUMNS = "nodule,patient,readers,nz,ny,nx,offset,spacing_xy,spacing_z,diameter_mm,texture"


@pytest.fixture(scope="module")
def scan():
    return chest_scan()


def ball(diameter_mm, number=0, patient="P7"):
    k, j, i = np.indices((int(diameter_mm) + 3,) * 3) - (int(diameter_mm) + 2) / 2
    return NoduleShape(
        number, patient, k**2 + j**2 + i**2 <= (diameter_mm / 2) ** 2, (1.0,) * 3, diameter_mm
    )


def pose(centre, angle=0.0, flips=(False, False, False)):
    return Pose(np.array(centre), angle, flips)


def test_an_inserted_nodule_has_the_measured_density_and_nothing_changes_outside(scan):
    hu = scan.hu.copy()
    placed = place(ball(16.0), scan, pose([20.0, 40.0, 92.0], 0.3, (False, True, False)))
    outline = insert(hu, scan, placed, DENSE, np.random.default_rng(0))
    changed = hu != scan.hu
    outside = changed.copy()
    outside[placed.box] = False
    assert not outside.any()
    assert not changed[~scan.lungs].any()
    core = placed.inside > 0.999
    inner = np.zeros_like(core)
    inner[1:-1, 2:-2, 2:-2] = core[1:-1, 2:-2, 2:-2]
    deep = inner & (placed.blurred > 0.999)
    assert abs(hu[placed.box][deep].mean() - DENSE.hu) < 3 * DENSE.sd_hu
    volume = outline.sum() * np.prod(scan.spacing_mm)
    assert abs(volume - np.pi / 6 * 16**3) < 0.15 * np.pi / 6 * 16**3
    edge = (placed.blurred > 0.2) & (placed.blurred < 0.8)
    assert -800 < hu[placed.box][edge].mean() < 0  # blurred, no step


def test_vessels_walls_and_what_is_denser_keep_their_values(scan):
    hu = scan.hu.copy()
    placed = place(ball(10.0), scan, pose([20.0, 55.0, 92.0]))
    insert(hu, scan, placed, Density(-300.0, 1.0, 1.0), np.random.default_rng(0))
    vessel = scan.hu > TISSUE_HU - 60
    assert np.array_equal(hu[vessel], scan.hu[vessel])
    assert not fits(placed, scan, scan.left_out)  # too much of it is vessel


def test_a_place_is_in_the_lung_and_in_nothing_that_is_left_out(scan, monkeypatch):
    places, rng = np.argwhere(scan.lungs), np.random.default_rng(2)
    for _ in range(5):
        placed = find_place(ball(8.0), scan, scan.left_out, places, rng)
        inside = placed.inside >= 0.5
        assert scan.lungs[placed.box][inside].mean() >= 0.9
        assert not scan.left_out[placed.box][inside].any()
    wall = place(ball(8.0), scan, pose([20.0, 55.0, 65.0]))
    assert not fits(wall, scan, scan.left_out)
    assert place(ball(8.0), scan, pose([0.0, 55.0, 65.0])) is None
    monkeypatch.setattr(insertion, "TRIES", 5)
    assert find_place(ball(8.0), scan, np.ones_like(scan.lungs), places, rng) is None


def test_a_copy_is_the_same_for_every_detector_and_nodules_do_not_touch(scan):
    shapes = [ball(d, n) for n, d in enumerate((5.0, 8.0, 12.0, 21.0))]
    hu, inserted = with_nodules(scan, shapes, [DENSE], 1, 0)
    again, _ = with_nodules(scan, shapes, [DENSE], 1, 0)
    assert np.array_equal(hu, again)
    assert [shape.size for shape, _ in inserted] == [3, 2, 1, 0]
    assert sum(outline.astype(int) for _, outline in inserted).max() == 1
    assert all(outline.any() for _, outline in inserted)
    other, _ = with_nodules(scan, shapes, [DENSE], 1, 1)
    assert not np.array_equal(hu, other)


def test_a_scan_without_room_is_refused(scan):
    full = replace(scan, left_out=np.ones_like(scan.lungs))
    with pytest.raises(UserError, match="no room left for a nodule of 8 mm"):
        with_nodules(full, [ball(8.0)], [DENSE], 1, 0)


def test_samples_hold_nothing_real(scan, monkeypatch):
    hu = scan.hu.copy()
    hu[scan.real] = 20_000
    monkeypatch.setattr(samples, "HU_WINDOWS", ((0.0, 20_000.0),))
    marked = NoduleWindows(Backgrounds([replace(scan, hu=hu)]), [ball(8.0)], seed=3)
    assert scan.real.any()
    assert max(marked[n]["image"].max() for n in range(30)) < 0


def test_samples_are_a_function_of_their_number(scan):
    windows = NoduleWindows(Backgrounds([scan]), [ball(8.0), ball(12.0)], seed=3)
    first, again, other = windows[5], windows[5], windows[6]
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], other["image"])
    assert first["image"].shape == (2, *(WINDOW,) * 3)
    assert first["image"].min() >= -1
    with_nodule = [windows[n]["label"].any() for n in range(20)]
    assert 10 <= sum(with_nodule) < 20


def write_table(folder, rows):
    lines = [COLUMNS, *(",".join(map(str, row)) for row in rows)]
    (folder / "nodules.csv").write_text("\n".join(lines))
    np.savez(folder / "counts.npz", counts=np.tile(np.uint8([0, 1, 2, 4]), 27 * len(rows)))


def test_shapes_are_split_by_patient_and_two_patients_are_in_no_part(tmp_path):
    patients = ["LIDC-IDRI-0001", "LIDC-IDRI-0314", *(f"LIDC-IDRI-{n:04d}" for n in range(20, 30))]
    rows = [(n, p, 4, 3, 3, 3, 27 * n, 0.7, 2.5, 8.0, 5) for n, p in enumerate(patients)]
    rows.append((99, "LIDC-IDRI-0020", 4, 3, 3, 3, 0, 0.7, 2.5, 8.0, 1))  # ground glass
    rows.append((98, "LIDC-IDRI-0020", 1, 3, 3, 3, 0, 0.7, 2.5, 8.0, 5))  # one reader
    rows.append((97, "LIDC-IDRI-0020", 4, 3, 3, 3, 0, 0.7, 2.5, 3.0, 5))  # too small
    write_table(tmp_path, rows)
    parts = read_shapes(tmp_path)
    assert {part: len(shapes) for part, shapes in parts.items()} == {
        "train": 6,
        "val": 1,
        "test": 3,
    }
    owners = {part: {shape.patient for shape in shapes} for part, shapes in parts.items()}
    assert not owners["train"] & (owners["test"] | owners["val"])
    assert not set(HELD_BACK) & set().union(*owners.values())
    assert part_of("LIDC-IDRI-0001") == part_of("LIDC-IDRI-0314") == "held back"
    shape = parts["train"][0]
    assert shape.mask.shape == (3, 3, 3)
    assert shape.mask.mean() == pytest.approx(0.5, abs=0.06)  # two of four readers or more
    with pytest.raises(UserError, match=r"nodules\.csv"):
        read_shapes(tmp_path / "none")
