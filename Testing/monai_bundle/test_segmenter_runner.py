"""Our bundles run in MONAI's own runner and give what `medllmseg segment` gives."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow, run

from MedLLMSegLib import UserError, Volume, load_volume, save_volume, segment
from MedLLMSegLib.registry.bundle import INFERENCE, read_bundle
from MedLLMSegLib.registry.catalogue import BUNDLES
from Testing.helpers.monai_runs import assert_same, by_monai, by_us
from Testing.helpers.tiny_segmenter import tiny_bundle

SHARED = Path(__file__).parents[3] / "shared/data"


pytestmark = pytest.mark.filterwarnings(
    "ignore:parsing config_file"
)  # MONAI says at each run that it evaluates the file


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"NOT TESTED: {SHARED} is absent")


@pytest.mark.slow
def test_the_command_line_of_monai_gives_our_label_map(tiny, scan, tmp_path):
    """The whole-scan model, by the very command that its card names, from the bundle's folder."""
    out = subprocess.run(
        [
            sys.executable,
            "-m",
            "monai.bundle",
            "run",
            "--config_file",
            INFERENCE,
            "--bundle_root",
            ".",
            "--scan",
            str(scan),
            "--output_dir",
            str(tmp_path / "out"),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tiny,
    )
    assert out.returncode == 0, out.stderr
    ours = by_us(tiny, scan, tmp_path / "ours.nii.gz")
    assert_same(load_volume(tmp_path / "out/two balls_seg.nii.gz"), ours)
    assert set(np.unique(ours.array)) == {0, 1, 4}
    assert min(np.bincount(ours.array.ravel())[[1, 4]]) > 50


def test_one_scale_of_grey_values_for_all_scans_is_that_of_monai_too(tiny, scan, tmp_path):
    settings = read_bundle(tiny).metadata["preprocessing"] | {"grey": [95.0, 240.0, 150.0, 60.0]}
    bundle = tiny_bundle(tmp_path / "ct", preprocessing=settings)
    ours = by_us(bundle, scan, tmp_path / "ours.nii.gz")
    assert_same(by_monai(bundle, scan, tmp_path), ours)
    assert not np.array_equal(
        ours.array, by_us(tiny, scan, tmp_path / "each.nii.gz").array
    )  # it makes a difference


def test_a_folder_of_scans_runs_too(tiny, scan, tmp_path):
    volume = load_volume(scan)
    flipped = save_volume(
        Volume(volume.array[:, ::-1, 4:], volume.ijk_to_ras, "b"), tmp_path / "in/b.nii.gz"
    )
    whole = save_volume(volume, tmp_path / "in/a.nii.gz")
    run(
        config_file=str(tiny / INFERENCE),
        bundle_root=str(tiny),
        dataset_dir=str(tmp_path / "in"),
        device="cpu",
        output_dir=str(tmp_path / "out"),
    )
    for path in (flipped, whole):
        assert_same(
            load_volume(tmp_path / "out" / path.name.replace(".nii", "_seg.nii")),
            by_us(tiny, path, tmp_path / "ours" / path.name),
        )


def test_other_formats_and_oblique_nrrd_run_too(tiny, scan, tmp_path):
    path = save_volume(load_volume(scan), tmp_path / "scan.nrrd")
    run(
        config_file=str(tiny / INFERENCE),
        bundle_root=str(tiny),
        scan=str(path),
        device="cpu",
        output_dir=str(tmp_path / "out"),
    )
    assert_same(
        load_volume(tmp_path / "out/scan_seg.nii.gz"), by_us(tiny, path, tmp_path / "ours.nii.gz")
    )


@needs_shared
@pytest.mark.parametrize("case", ("hippocampus_001", "hippocampus_044", "hippocampus_057"))
def test_the_shipped_model_on_real_crops(case, tmp_path):
    """Cases of the validation split, so that the test split stays unread by tests."""
    path, bundle = SHARED / f"hippocampus/imagesTr/{case}.nii.gz", BUNDLES / "hippocampus-t1"
    ours = by_us(bundle, path, tmp_path / "ours.nii.gz")
    assert_same(by_monai(bundle, path, tmp_path), ours)
    assert set(np.unique(ours.array)) == {0, 1, 2}


@pytest.fixture(scope="module")
def template():
    folder = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets/data"
    return next(folder.glob("mni_icbm152_t1_*.nii.gz"))


@pytest.mark.slow
@pytest.mark.parametrize("side", (-1, 1), ids=("left", "right"))
def test_a_crop_of_either_side_is_taken_the_same_way_round(template, side, tmp_path):
    head, bundle = load_volume(template), BUNDLES / "hippocampus-t1"
    low = np.linalg.inv(head.ijk_to_ras) @ (26 * side - 20, -24 - 28, -13 - 20, 1)
    i, j, k = np.round(low[:3]).astype(int)
    size = np.round(np.array((40, 56, 40)) / head.spacing_mm[0]).astype(int)
    matrix = head.ijk_to_ras.copy()
    matrix[:3, 3] = (matrix @ (i, j, k, 1))[:3]
    crop = Volume(head.array[k : k + size[2], j : j + size[1], i : i + size[0]], matrix, "crop")
    path = save_volume(crop, tmp_path / "crop.nii.gz")
    assert ("right" if side > 0 else "left") in segment(crop, bundle, device="cpu").notes[0]
    assert_same(by_monai(bundle, path, tmp_path), by_us(bundle, path, tmp_path / "ours.nii.gz"))


def test_what_we_refuse_is_refused_there(template, tmp_path):
    bundle, noise = (
        BUNDLES / "hippocampus-t1",
        np.random.default_rng(3).normal(500, 100, (40, 48, 40)).astype(np.float32),
    )
    path = save_volume(Volume(noise, np.eye(4)), tmp_path / "noise.nii.gz")
    with pytest.raises(UserError, match="No hippocampus"):
        segment(load_volume(path), bundle, device="cpu")
    for scan, words in ((path, "the organ has"), (template, "use `medllmseg segment`")):
        with pytest.raises(RuntimeError) as caught:
            by_monai(bundle, scan, tmp_path)
        causes = [caught.value]
        while causes[-1].__cause__:
            causes.append(causes[-1].__cause__)
        assert any(isinstance(e, UserError) and words in str(e) for e in causes), causes
    assert not list(tmp_path.glob("*_seg.nii.gz"))


def test_what_reaches_the_network_knows_where_it_lies(tiny, scan):
    """The balls of the prepared image are, by its affine, where they are in the scan: for
    MONAI's other tools.
    """
    workflow = ConfigWorkflow(
        str(tiny / INFERENCE), workflow_type="infer", bundle_root=str(tiny), scan=str(scan)
    )
    workflow.initialize()
    image, volume = workflow.dataset[0]["image"], load_volume(scan)
    balls = volume.array > 150
    seen = image[0].numpy() > np.quantile(image[0].numpy(), 1 - balls.mean())
    found = image.affine.numpy() @ (*np.argwhere(seen).mean(0), 1)
    expected = volume.ijk_to_ras @ (*np.argwhere(balls).mean(0)[::-1], 1)
    assert image.shape[1:] == (12, 39, 46)
    assert np.linalg.norm(found - expected) < 1.5
