"""What a bundle's configurations hold for MONAI, and that our code evaluates none of them."""

import ast
import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_net_in_out

from MedLLMSegLib import UserError
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.diagnosis.monai_metadata import classifier_inference
from MedLLMSegLib.registry.bundle import INFERENCE, read_bundle, rewrite_texts, write_bundle
from MedLLMSegLib.registry.catalogue import BUNDLES, METADATA
from MedLLMSegLib.registry.monai_inference import inference_config
from Testing.helpers.monai_runs import assert_same, by_us
from Testing.helpers.tiny_segmenter import tiny_bundle

LIBRARY = Path(__file__).parents[2] / "MedLLMSegLib"


SHIPPED = sorted(path.parent.parent for path in BUNDLES.glob(f"*/{METADATA}"))


pytestmark = pytest.mark.filterwarnings(
    "ignore:parsing config_file"
)  # MONAI says at each run that it evaluates the file


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
    """monai_bundle is for MONAI's runner alone, and no file knows the parser: then no
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
