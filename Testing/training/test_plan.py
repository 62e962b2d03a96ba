"""What is planned from which data, and that every choice says why."""

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.training.segmenter.planning.plan import (
    CPU_BUDGET_VOX,
    DataPlan,
    Fingerprint,
    fingerprint_of,
    fingerprint_table,
    gpu_budget_vox,
    plan_data,
    plan_table,
)

SHARED = Path(__file__).parents[3] / "shared/data"


def fingerprint(spacing, size_mm, labels=("tumour",), ml=20.0, cases=5, **more):
    """Of cases that are all alike. spacing, size_mm: (k, j, i)."""
    ratio = max(spacing) / min(spacing)
    sizes = tuple(round(e / s) for e, s in zip(size_mm, spacing, strict=True))
    names = dict(enumerate(labels, start=1))
    made = Fingerprint(
        tuple(f"c{n}" for n in range(cases)),
        "scan" if ratio > 2 else "ras",
        ratio,
        spacing,
        size_mm,
        (spacing,) * cases,
        (sizes,) * cases,
        ((0.0, 1.0, 2.0),) * cases,
        names,
        {value: (ml,) * cases for value in names},
        (0.5, 1.5, 1.0, 0.25),
    )
    return replace(made, **more)


HEART = fingerprint(
    (10.0, 1.5, 1.5), (90.0, 384.0, 324.0), ("Right ventricle", "Left ventricle"), 120.0
)
CROP = fingerprint((1.0, 1.0, 1.0), (36.0, 50.0, 35.0), ("Anterior", "Posterior"), 1.7)
ABDOMEN = fingerprint((1.5, 0.8, 0.8), (300.0, 410.0, 410.0), ("liver",), 1500.0)


def test_small_isotropic_crops_are_trained_whole():
    plan = plan_data(CROP)
    assert plan.spacing_mm == (1, 1, 1)
    assert plan.axes == "ras"
    assert plan.window == (40, 56, 40)
    assert plan.strides == ((2, 2, 2),) * 3
    assert plan.batch == 2
    assert plan.flips == ()
    assert plan.rotate_deg == (15, 15, 15)


def test_thick_slices_keep_their_axes_and_their_stack():
    plan = plan_data(HEART)
    assert plan.axes == "scan"
    assert plan.spacing_mm == (10, 1.5, 1.5)
    assert plan.strides == (
        (1, 2, 2),
        (1, 2, 2),
        (2, 2, 2),
    )  # 10 mm is not more than twice 6 mm: halved at last
    assert plan.window[0] == 10
    assert all(112 <= n <= 160 and n % 8 == 0 for n in plan.window[1:])
    assert prod(plan.window) <= CPU_BUDGET_VOX / 2
    assert plan.rotate_deg[1:] == (0, 0)
    k, j, i = plan.window
    assert plan.wide_window == (k, 2 * j, 2 * i)
    thin = plan_data(CROP)
    assert thin.wide_window == thin.window
    tall = plan_data(fingerprint((5.0, 1.0, 1.0), (300.0, 200.0, 200.0)))
    # 60 slices are more than a stack to keep
    assert tall.window[0] < 60
    assert prod(tall.window) <= CPU_BUDGET_VOX / 2


def test_slices_too_thick_to_halve_stay():
    plan = plan_data(fingerprint((12.0, 1.0, 1.0), (72.0, 200.0, 200.0)))
    assert [s[0] for s in plan.strides] == [1, 1, 1]
    assert plan.window[0] == 6


def test_few_slices_are_not_halved_away():
    plan = plan_data(fingerprint((3.0, 1.0, 1.0), (15.0, 200.0, 200.0)))
    assert [s[0] for s in plan.strides] == [1, 1, 1]  # 5 slices: half would be fewer than 4


def test_across_thick_slices_few_cases_lose_detail():
    spacings = tuple((k, 1.0, 1.0) for k in (2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 8.0, 8.0, 8.0, 8.0))
    fp = fingerprint(
        (5.0, 1.0, 1.0), (60.0, 150.0, 150.0), cases=len(spacings), spacings_mm=spacings
    )
    assert plan_data(fp).spacing_mm == (5.0, 1.0, 1.0)
    fp = replace(fp, spacings_mm=spacings[:2] * 5 + spacings[2:3])
    assert plan_data(fp).spacing_mm == (2.0, 1.0, 1.0)


def test_a_large_scan_is_coarsened_until_a_window_shows_enough_of_it():
    plan = plan_data(ABDOMEN)
    case = np.array(ABDOMEN.size_mm) / plan.spacing_mm
    assert 0.1 < prod(plan.window) / prod(case) < 0.16
    assert "made coarser" in plan.reasons["spacing_mm"]
    assert max(plan.spacing_mm) < 1.2 * min(plan.spacing_mm)  # the finest axes grew first
    shares = np.array(plan.window) / case
    assert shares.max() < 1.4 * shares.min()  # the window has the scan's proportions
    long = plan_data(fingerprint((1.0, 1.0, 1.0), (480.0, 96.0, 96.0), ml=5.0))
    shares = np.array(long.window) / (480, 96, 96)
    assert shares.max() < 1.4 * shares.min()
    assert prod(long.window) <= CPU_BUDGET_VOX / 2
    small = plan_data(replace(ABDOMEN, volumes_ml={1: (3.0,) * 5}))
    assert (
        1000 <= 3000 / prod(small.spacing_mm) < 1200
    )  # a structure of 3 mL keeps a thousand voxels


def test_a_gpu_gets_larger_windows_and_batches():
    budget = gpu_budget_vox(24 << 30)
    assert prod(plan_data(ABDOMEN, budget).window) > 5 * prod(plan_data(ABDOMEN).window)
    assert plan_data(CROP, budget).batch == 8
    assert plan_data(HEART, budget).window == (10, 256, 216)
    assert gpu_budget_vox(1 << 20) == CPU_BUDGET_VOX


def test_mirroring_needs_a_reason():
    assert plan_data(HEART).flips == (0, 1, 2)  # a heart's left ventricle is no side of the body
    for name in (
        "Left kidney",
        "kidney_right",
        "rh-hippocampus",
        "Kidney_L",
        "lung R",
        "LeftKidney",
        "kidney (lt)",
        "rein gauche",
        "Hippocampus-L",
        "Niere rechts",
        "label_2",
    ):
        sided = plan_data(replace(HEART, labels={1: "liver", 2: name}))
        assert sided.flips == ()
        assert name in sided.reasons["flips"]
    assert plan_data(replace(HEART, labels={1: "bright spot", 2: "cleft in gland L4"})).flips == (
        0,
        1,
        2,
    )


@pytest.mark.parametrize(
    "fp",
    [
        HEART,
        CROP,
        ABDOMEN,
        fingerprint((1.0, 1.0, 1.0), (12.0, 10.0, 9.0), ml=0.5),
        fingerprint((8.0, 1.0, 1.0), (16.0, 30.0, 30.0)),
    ],
)
def test_plans_hold_together_and_round_trip(fp):
    plan = plan_data(fp)
    patch = np.prod(plan.strides, 0)
    assert len(plan.strides) == 3
    assert all(max(stage) == 2 for stage in plan.strides)
    assert all(
        n % p == 0 and (p == 1 or n // p >= 4) for n, p in zip(plan.window, patch, strict=True)
    )
    assert plan.batch * prod(plan.window) <= CPU_BUDGET_VOX
    assert DataPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_the_tables_show_every_choice_and_its_reason():
    plan = plan_data(HEART)
    table = plan_table(HEART, plan)
    for text in (
        "10 x 1.5 x 1.5",
        "1x2x2, 1x2x2, 2x2x2",
        "k, j, i",
        "25 %",
        "along the slices",
        *plan.reasons.values(),
    ):
        assert text in table, text
    asked = plan_table(HEART, plan.with_choices(window=(8, 64, 64)))
    assert "8 x 64 x 64                as asked".replace(" ", "") in asked.replace(" ", "")
    # it counts the window's voxels
    assert plan.reasons["window"] not in asked
    assert plan.reasons["batch"] not in asked
    assert asked.count("as asked") == 1
    assert "as planned for a window of" in asked
    seen = fingerprint_table(
        replace(HEART, volumes_ml={1: (100.0, 0.0, 0.0, 0.0, 0.0), 2: (0.0,) * 5})
    )
    assert "1 Right ventricle       in 1 of 5 cases, 100 (100 to 100) mL" in seen
    assert "2 Left ventricle        in 0 of 5 cases: it cannot be learnt" in seen
    assert "9 x 256 x 216" in seen


def test_a_spacing_that_is_asked_for_is_planned_with():
    usual, coarse = plan_data(HEART), plan_data(HEART, spacing_mm=(10, 3, 3))
    assert coarse.spacing_mm == (10.0, 3.0, 3.0)
    assert coarse.reasons["spacing_mm"] == "as asked"
    assert prod(coarse.window) * coarse.batch <= CPU_BUDGET_VOX
    millimetres = [plan.window[1] * plan.spacing_mm[1] for plan in (usual, coarse)]
    assert millimetres[1] > 1.3 * millimetres[0]  # fewer voxels, so a window shows more of the case


def test_hounsfield_units_are_normalised_alike_in_all_scans():
    air = replace(
        ABDOMEN, intensities=((-1000.0, -50.0, 300.0),) * 5, grey=(-80.0, 230.0, 95.0, 40.0)
    )
    soft = replace(air, intensities=((-1000.0, -50.0, 300.0),) * 4 + ((-100.0, 0.0, 300.0),))
    for fp, modality, fixed in (
        (air, "", True),
        (soft, "", False),
        (soft, "contrast-enhanced CT", True),
        (air, "MR T1", False),
        (ABDOMEN, "", False),
        (air, "projection", False),
    ):
        plan = plan_data(fp, modality=modality)
        assert plan.grey == ((-80.0, 230.0, 95.0, 40.0) if fixed else None), (modality, fixed)
        assert ("Hounsfield" in plan.reasons["grey"]) == fixed
        assert ("-80 to 230, z-score" if fixed else "0.5 to 99.5 %, z-score") in plan_table(
            fp, plan
        )
    assert DataPlan.from_dict(json.loads(json.dumps(plan_data(air).to_dict()))) == plan_data(air)
    for grey in (
        None,
        (1.0, 2.0, 1.5, 0.2),
    ):  # fine-tuned weights know the scale that they were trained on
        assert plan_data(air, modality="CT", base=Preparation(1.0, grey=grey)).grey == grey
    flat = plan_data(replace(air, grey=(3071.0, 3071.0, 3071.0, 0.0)), modality="CT")
    assert flat.grey is None
    assert "one value" in flat.reasons["grey"]


def test_a_damaged_plan_is_one_sentence():
    data = plan_data(CROP).to_dict()
    for harm, sentence in (
        ({"axes": "lps"}, "lps"),
        ({"batch": 0}, "batch is 0"),
        ({"window": (8, 8)}, "window"),
        ({"colour": 1}, 'unknown entry "colour"'),
    ):
        with pytest.raises(UserError, match=sentence):
            DataPlan.from_dict({**data, **harm})
    with pytest.raises(UserError, match='lacks the entry "batch"'):
        DataPlan.from_dict({k: v for k, v in data.items() if k != "batch"})


# --- measuring cases ---


def write_cases(folder, matrix, shape, label=1, count=3):
    """Scans with a box of 2 x 3 x 4 voxels of one label."""
    for n in range(count):
        image = np.random.default_rng(n).normal(100 * (n + 1), 5, shape).astype(np.float32)
        labels = np.zeros(shape, np.uint8)
        labels[1:3, 1:4, 1:5] = label
        save_volume(Volume(image, matrix), folder / f"imagesTr/c{n}.nii.gz")
        save_volume(Volume(labels, matrix), folder / f"labelsTr/c{n}.nii.gz")
    return read_cases(folder, {1: "box", 2: "nothing"})


def test_sizes_are_measured_along_the_networks_axes(tmp_path):
    sagittal = np.array(
        [[0, 0, 1.5, 0], [1.0, 0, 0, 0], [0, -1.2, 0, 0], [0, 0, 0, 1]]
    )  # i to A, j to I, k to R
    cases = write_cases(tmp_path / "a", sagittal, (6, 20, 30))
    fp = fingerprint_of(cases.cases, cases)
    assert fp.axes == "ras"
    assert fp.spacing_mm == (1.2, 1.0, 1.5)
    assert fp.size_mm == (24.0, 30.0, 9.0)
    assert fp.sizes_vox[0] == (20, 30, 6)
    assert fp.volumes_ml == {1: (0.0432,) * 3, 2: (0.0,) * 3}
    assert [round(p[1], -2) for p in fp.intensities] == [100, 200, 300]
    # of the three boxes
    assert fp.grey[0] < 110
    assert fp.grey[1] > 290
    assert 190 < fp.grey[2] < 210
    assert 75 < fp.grey[3] < 90
    tilt = np.eye(4)
    c, s = np.cos(0.4), np.sin(0.4)
    tilt[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    )
    slices_second = tilt @ np.diag([1.0, 7.0, 1.1, 1.0])  # the thick axis is stored as j
    cases = write_cases(tmp_path / "b", slices_second, (20, 6, 30))
    assert fingerprint_of(cases.cases, cases, axes="ras").axes == "ras"
    fp = fingerprint_of(cases.cases, cases)
    assert fp.axes == "scan"
    assert fp.anisotropy == pytest.approx(7, abs=1e-3)
    assert fp.spacing_mm[0] == 7
    assert fp.sizes_vox[0][0] == 6
    assert sorted(fp.sizes_vox[0]) == [6, 20, 30]


def test_cases_without_a_label_cannot_be_planned(tmp_path):
    cases = write_cases(tmp_path, np.eye(4), (8, 9, 10), label=0)
    with pytest.raises(UserError, match=r"None of the 3 training cases .* has a labelled voxel"):
        fingerprint_of(cases.cases, cases)
    with pytest.raises(UserError, match="no case to train on"):
        fingerprint_of([], cases)


@pytest.mark.skipif(
    not (SHARED / "hippocampus").is_dir(), reason="NOT TESTED: shared/data/hippocampus is not here"
)
def test_the_shared_hippocampus_cases():
    cases = read_cases(SHARED / "hippocampus", {1: "Anterior", 2: "Posterior"})
    fp = fingerprint_of(cases.cases[::8], cases)
    assert plan_data(fp).window == (40, 56, 40)
    assert "in 27 of 27 cases" in fingerprint_table(fp)
