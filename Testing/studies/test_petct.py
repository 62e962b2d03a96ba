"""The study of a PET beside a CT, at toy size: its data, its baselines and its page."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import sts_petct
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.studies import petct
from MedLLMSegLib.studies.petct_page import PAGE, PICTURE, RESULTS, write_page
from MedLLMSegLib.studies.study.results import StudyResults
from Testing.helpers.two_channels import patient

SMALL = replace(petct.NETWORK, stem_channels=(4, 4, 8), width=12, heads=2, depth=1)


@pytest.fixture(scope="module")
def sarcomas(tmp_path_factory):
    """Six patients as the folder sts_petct stores them: the PET as SUV x 20."""
    data = tmp_path_factory.mktemp("sts")
    for n in range(6):
        ct, _, labels = patient(n)
        suv = np.where(labels.array > 0, 8.0, 1.0)
        save_volume(ct, data / f"ct/STS_{n:03d}.nii.gz")
        save_volume(
            Volume((20 * suv).astype(np.uint16), ct.ijk_to_ras), data / f"pet/STS_{n:03d}.nii.gz"
        )
        save_volume(labels, data / f"labels/STS_{n:03d}.nii.gz")
    (data / "splits.json").write_text(json.dumps({"train": ["STS_000"], "val": ["STS_001"]}))
    return data


@pytest.fixture(scope="module")
def shifted(sarcomas, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "sts-shifted"
    command = ["--data", str(sarcomas), "--output", str(output), "--shift"]
    assert sts_petct.main(command) == 0
    return output


def test_the_pet_is_written_as_suv_and_a_shift_keeps_every_voxel_of_the_tumour(
    sarcomas, shifted, tmp_path
):
    plain = sts_petct.convert_sts(sarcomas, tmp_path / "plain")
    pet = load_volume(plain / "imagesTr/STS_003_0001.nii.gz").array
    assert (pet.min(), pet.max()) == (1, 8)
    sizes = set()
    for n in range(6):
        whole, cut = (
            load_volume(folder / f"labelsTr/STS_{n:03d}.nii.gz") for folder in (plain, shifted)
        )
        assert whole.array.sum() == cut.array.sum() > 0
        ras = [
            v.ijk_to_ras[:3, 3] + v.ijk_to_ras[:3, :3] @ np.argwhere(v.array)[0][::-1]
            for v in (whole, cut)
        ]
        assert np.allclose(*ras, atol=1e-4)  # it lies where it lay
        sizes.add(cut.array.shape)
        again = sts_petct.random_box(whole, f"STS_{n:03d}")
        assert tuple(part.stop - part.start for part in again) == cut.array.shape
    assert len(sizes) > 1
    assert sts_petct.main(["--data", str(tmp_path), "--output", str(tmp_path / "x")]) == 2


def test_the_ellipsoid_sees_the_size_alone():
    grid = np.diag([2.0, 2.0, 4.0, 1.0])
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[2:8, 5:15, 5:15] = 1
    truth = Volume(labels, grid)
    margins = petct.mean_margins([truth])
    assert margins.tolist() == [[8, 8], [10, 10], [10, 10]]
    image = Volume(np.random.default_rng(0).random((2, *labels.shape)), grid)
    inside = petct.ellipsoid(image, margins)
    assert np.array_equal(inside, petct.ellipsoid(replace(image, array=image.array * 0), margins))
    assert not inside[labels == 0].any()
    assert 0.4 < inside.sum() / labels.sum() < 0.6  # pi / 6


def test_the_threshold_reads_the_pet():
    pet = np.array([0.0, 1.0, 4.0, 4.2, 10.0]).reshape(1, 1, 5)
    image = Volume(np.stack([1000 - pet, pet]), np.eye(4))
    assert petct.hot_voxels(image).ravel().tolist() == [False, False, False, True, True]


def test_a_fold_of_each_arm_and_its_page(shifted, tmp_path):
    pytest.importorskip("matplotlib")
    study = petct.plan(
        shifted,
        tmp_path / "runs",
        spacing=3.0,
        window=(8, 8, 8),
        steps=4,
        count=2,
        precision="fp32",
        network=SMALL,
    )
    results = StudyResults(tmp_path / "petct-results.json", "sts-shifted")
    running = study.study(results)
    assert len(running.planned()) == 10
    assert running.run("*-0-0") == [f"{arm}-0-0" for arm in petct.ARMS]
    tested = {case.id for case in study.splits[0]["test"]}
    for run in results.runs.values():
        assert set(run["dice"]) == tested
    petct.outline_picture(study, results.runs, tmp_path)
    assert (tmp_path / PICTURE).stat().st_size > 1000
    page = write_page(results.path, tmp_path).read_text(encoding="utf-8")
    assert "`ct` CT alone" in page
    assert "(1 not run)" in page
    assert f"Dice, {len(tested)} patients." in page
    running.run("both-1-0,ellipsoid-1-0")
    page = write_page(results.path, tmp_path).read_text(encoding="utf-8")
    assert "blind to the image: " in page
    assert "Dice, 6 patients." in page


def test_the_page_is_made_from_the_stored_results(tmp_path):
    docs = Path(__file__).parents[2] / "docs"
    (tmp_path / PICTURE).parent.mkdir()
    shutil.copyfile(docs / PICTURE, tmp_path / PICTURE)
    page = write_page(docs / RESULTS, tmp_path).read_text(encoding="utf-8")
    assert page == (docs / PAGE).read_text(encoding="utf-8")
