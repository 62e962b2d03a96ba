"""Our bundles run in MONAI's own runner and give what `medllmseg segment` gives; our own code
evaluates no configuration.
"""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, run, verify_net_in_out

from MedLLMSegLib import UserError, Volume, load_volume, save_volume, segment
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.diagnosis.monai_metadata import classifier_inference
from MedLLMSegLib.registry.bundle import INFERENCE, read_bundle, rewrite_texts, write_bundle
from MedLLMSegLib.registry.catalogue import BUNDLES, METADATA
from MedLLMSegLib.registry.monai_inference import inference_config
from Testing.helpers.monai_runs import assert_same, by_monai, by_us
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle

SHARED = Path(__file__).parents[3] / "shared/data"


LIBRARY = Path(__file__).parents[2] / "MedLLMSegLib"


SHIPPED = sorted(path.parent.parent for path in BUNDLES.glob(f"*/{METADATA}"))


pytestmark = pytest.mark.filterwarnings(
    "ignore:parsing config_file"
)  # MONAI says at each run that it evaluates the file


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"NOT TESTED: {SHARED} is absent")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Two bright balls in noise, 15 slices of 4 mm, 1.3 mm in the plane, oblique."""
    k, j, i = np.ogrid[:15, :44, :52]
    image = np.random.default_rng(0).normal(100, 8, (15, 44, 52))
    image += 90 * ((3 * (k - 7)) ** 2 + (j - 15) ** 2 + (i - 20) ** 2 < 100)
    image += 160 * ((3 * (k - 6)) ** 2 + (j - 30) ** 2 + (i - 36) ** 2 < 70)
    path = tmp_path_factory.mktemp("scan") / "two balls.nii.gz"
    return save_volume(Volume(image.astype(np.int16), oblique(image.shape, (1.3, 1.3, 4.0))), path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


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


@pytest.mark.parametrize("name", ("tiny", "hippocampus-t1"))
def test_a_monai_user_finds_what_the_specification_names(name, tiny, scan):
    """Source of the ids: monai/bundle/properties.py, InferProperties."""
    folder = tiny if name == "tiny" else BUNDLES / name
    workflow = ConfigWorkflow(
        str(folder / INFERENCE), workflow_type="infer", bundle_root=str(folder), scan=str(scan)
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert isinstance(workflow.network_def, torch.nn.Module)
    assert not workflow.network_def.training
    config = json.loads((folder / INFERENCE).read_text(encoding="utf-8"))
    kinds = [
        t["_target_"]
        for key in ("preprocessing", "postprocessing")
        for t in config[key]["transforms"]
    ]
    assert {
        "LoadImaged",
        "ClipIntensityPercentilesd",
        "NormalizeIntensityd",
        "Activationsd",
        "Invertd",
        "AsDiscreted",
        "SaveImaged",
    } <= set(kinds)
    verify_net_in_out(
        "network_def",
        meta_file=str(folder / METADATA),
        config_file=str(folder / INFERENCE),
        device="cpu",
        bundle_root=str(folder),
    )


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


TENSOR = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
}


# The required fields of meta_schema_20240725.json (Project-MONAI/MONAI-extra-test-data, release
# 0.8.1; the same file is public/schema/ in Project-MONAI/project-monai.github.io), with their
# types.
FIELDS = {
    "schema": str,
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}


OPTIONAL = {
    "changelog": dict,
    "data_source": str,
    "data_type": str,
    "image_classes": str,
    "label_classes": str,
    "pred_classes": str,
    "eval_metrics": dict,
    "intended_use": str,
    "references": list,
}


@pytest.mark.parametrize("name", ("tiny", *(folder.name for folder in SHIPPED)))
def test_the_metadata_has_the_fields_of_monais_schema(name, tiny):
    metadata = json.loads(
        ((tiny if name == "tiny" else BUNDLES / name) / METADATA).read_text(encoding="utf-8")
    )
    for field, kind in {**FIELDS, **OPTIONAL}.items():
        assert isinstance(metadata[field], kind), field
    assert metadata["schema"].endswith("meta_schema_20240725.json")
    assert metadata["version"] in metadata["changelog"]
    assert all(isinstance(reference, str) for reference in metadata["references"])
    assert all(
        isinstance(value, float)
        and (value >= 0 or "volume_difference" in name)  # a difference may be negative
        for name, value in metadata["eval_metrics"].items()
    )
    described = metadata["network_data_format"]
    for tensor in (
        described["inputs"]["image"],
        described["outputs"]["pred"],
        described["post_processed_outputs"]["pred"],
    ):
        for field, kind in TENSOR.items():
            assert isinstance(tensor[field], kind), field
        assert isinstance(tensor["is_patch_data"], bool)
        assert all(isinstance(n, (str, int)) for n in tensor["spatial_shape"])
    channels = described["outputs"]["pred"]["channel_def"]
    assert list(channels) == [str(n) for n in range(described["outputs"]["pred"]["num_channels"])]
    assert channels["0"] == (
        "Background" if metadata["kind"] != "classifier" else metadata["classes"][0]
    )
    assert "unknown" not in (metadata["monai_version"], metadata["pytorch_version"])


@pytest.mark.parametrize(
    "folder", [f for f in SHIPPED if (f / INFERENCE).exists()], ids=lambda folder: folder.name
)
def test_the_shipped_configuration_is_what_this_version_writes(folder):
    metadata = read_bundle(folder).metadata
    written = classifier_inference if metadata["kind"] == "classifier" else inference_config
    assert json.loads((folder / INFERENCE).read_text(encoding="utf-8")) == written(metadata)


def test_the_frozen_block_is_read_by_its_sha256(tmp_path):
    source = read_bundle(BUNDLES / "hippocampus-t1")
    folder = write_bundle(
        tmp_path / "changed",
        {**source.metadata, "llm_sha256": "0" * 64},
        source.tensors,
        "card",
        "licence",
        inference_config(source.metadata),
    )
    with pytest.raises(RuntimeError) as caught:
        ConfigWorkflow(
            str(folder / INFERENCE), workflow_type="infer", bundle_root=str(folder)
        ).parser.get_parsed_content("network_def")
    assert isinstance(caught.value.__cause__, UserError)
    assert "language-model layer" in str(caught.value.__cause__)


def test_a_poisoned_configuration_is_never_evaluated(scan, tmp_path):
    """Whoever sends a bundle can write anything into inference.json: neither reading nor
    segmenting touches it.
    """
    folder = tiny_bundle(tmp_path / "tiny")
    clean = by_us(folder, scan, tmp_path / "clean.nii.gz")
    mark = tmp_path / "was here"
    poison = f"$__import__('pathlib').Path({str(mark)!r}).touch()"
    config = dict.fromkeys(json.loads((folder / INFERENCE).read_text(encoding="utf-8")), poison)
    rewrite_texts(
        folder,
        {**read_bundle(folder).metadata, "network_def": poison},
        inference={**config, "imports": [poison]},
    )
    assert_same(by_us(folder, scan, tmp_path / "poisoned.nii.gz"), clean)
    assert cli.main(["models"]) == 0
    assert not mark.exists()
    (folder / INFERENCE).write_text("{ broken")
    assert_same(by_us(folder, scan, tmp_path / "broken.nii.gz"), clean)


def test_nothing_of_ours_imports_monais_parser_or_what_it_runs():
    """monai_runner.py is for MONAI's runner alone, and no file knows the parser: then no
    configuration can be evaluated.
    """
    for path in LIBRARY.rglob("*.py"):
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module or ''}.{alias.name}" for alias in node.names} | {
                    node.module or ""
                }
        assert not [
            name for name in imported if name.startswith("monai.bundle") or "ConfigParser" in name
        ], path
        assert not [
            name for name in imported if "monai_runner" in name or "monai_classifier" in name
        ], path
