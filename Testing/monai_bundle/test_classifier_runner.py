"""A classifier's bundle in MONAI's own runner: the same probabilities as `medllmseg diagnose`,
and the same refusals.
"""

import csv

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, run, verify_net_in_out
from PIL import Image

from MedLLMSegLib import UserError, diagnose
from MedLLMSegLib.diagnosis.classifier_bundle import update_classifier
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.registry.bundle import INFERENCE, read_bundle
from MedLLMSegLib.registry.catalogue import METADATA
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.tiny_classifier import tiny_network, write_tiny

pytestmark = pytest.mark.filterwarnings(
    "ignore:parsing config_file"
)  # MONAI says at each run that it evaluates the file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A DICOM file that is MONOCHROME1 with a window, and a PNG."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    pixels = rng.integers(0, 4000, (90, 70)).astype(np.uint16)
    write_dicom(
        folder / "a.dcm",
        pixels,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=1500,
        WindowWidth=2000,
    )
    Image.fromarray(rng.integers(0, 255, (80, 80)).astype(np.uint8)).save(folder / "b.png")
    return folder


def predictions(folder):
    return {
        row[0]: [float(v) for v in row[1:]]
        for row in csv.reader((folder / "predictions.csv").read_text().splitlines())
    }


def test_the_probabilities_are_ours(bundle, images, tmp_path):
    run(
        config_file=str(bundle / INFERENCE),
        bundle_root=str(bundle),
        dataset_dir=str(images),
        device="cpu",
        output_dir=str(tmp_path),
    )
    found = predictions(tmp_path)
    assert set(found) == {str(images / name) for name in ("a.dcm", "b.png")}
    for path, values in found.items():
        assert values == pytest.approx(
            list(diagnose(path, bundle, device="cpu", heat_map=False).probabilities.values()),
            abs=1e-6,
        )


def test_the_command_of_the_card_runs(bundle, images, tmp_path, monkeypatch):
    card = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert f"python -m monai.bundle run --config_file {INFERENCE} --bundle_root ." in card
    assert "--scan image.dcm --output_dir out" in card
    monkeypatch.chdir(bundle)
    run(
        config_file=INFERENCE,
        bundle_root=".",
        scan=str(images / "a.dcm"),
        output_dir=str(tmp_path / "out"),
    )
    assert list(predictions(tmp_path / "out")) == [str(images / "a.dcm")]


def test_what_we_refuse_is_refused_there(bundle, tmp_path):
    path = write_dicom(
        tmp_path / "ct.dcm",
        np.random.default_rng(0).integers(0, 4000, (80, 80)).astype(np.uint16),
        Modality="CT",
        WindowCenter=2000,
        WindowWidth=4000,
    )
    with pytest.raises(RuntimeError) as caught:
        run(
            config_file=str(bundle / INFERENCE),
            bundle_root=str(bundle),
            scan=str(path),
            device="cpu",
            output_dir=str(tmp_path),
        )
    causes = [caught.value]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    assert any(isinstance(e, UserError) and "is a CT image" in str(e) for e in causes), causes


def test_a_monai_user_finds_what_the_specification_names(bundle, images):
    workflow = ConfigWorkflow(
        str(bundle / INFERENCE),
        workflow_type="infer",
        bundle_root=str(bundle),
        scan=str(images / "b.png"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert isinstance(workflow.network_def, torch.nn.Module)
    assert not workflow.network_def.training
    verify_net_in_out(
        "network_def",
        meta_file=str(bundle / METADATA),
        config_file=str(bundle / INFERENCE),
        device="cpu",
        bundle_root=str(bundle),
    )


def test_an_older_bundle_gets_the_file_and_models_that_it_cannot_run_have_none(bundle, tmp_path):
    text = (bundle / INFERENCE).read_text(encoding="utf-8")
    (bundle / INFERENCE).unlink()
    assert read_bundle(bundle)
    assert (update_classifier(bundle) / INFERENCE).read_text(encoding="utf-8") == text
    frames = write_tiny(
        tmp_path / "frames",
        tiny_network(kind="cnn-lstm"),
        input=InputConfig("frames", ("MR",), "", ()),
    )
    card = (frames / "docs/README.md").read_text(encoding="utf-8")
    assert not (frames / INFERENCE).exists()
    assert "monai" not in card
    assert "medllmseg diagnose first.nii.gz second.nii.gz --model" in card
    assert "Trained on 9 sequences" in card
