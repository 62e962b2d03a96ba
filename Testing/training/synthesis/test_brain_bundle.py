"""From a brain training's folder to a bundle: the averaged weights, what it says of itself, and a
head that goes through it.
"""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib.anatomy.brain import brain_label_table, brain_structures
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data.case_digest import scan_digest
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import METADATA, model_entry
from MedLLMSegLib.segmentation.pipeline import load_model, segment
from MedLLMSegLib.training.small_checkpoint import SmallCheckpoint, write_small
from MedLLMSegLib.training.synthesis.brain_bundle import (
    BrainTraining,
    export_brain,
    is_brain_training,
    map_digests,
    read_training,
)
from Testing.training.synthesis.test_train_brain import TINY, train

pytestmark = pytest.mark.usefixtures("brain_of_any_shape")
NO_BLOCK = replace(TINY, llm=None)


@pytest.fixture
def maps(tmp_path):
    """A folder of tiny label maps."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for value, name in ((2, "one"), (17, "two")):
        labels = Volume(np.full((3, 4, 5), value, np.uint8), np.eye(4))
        save_volume(labels, folder / f"{name}.nii.gz")
    (folder / "splits.json").write_text(json.dumps({"train": ["one"], "val": ["two"]}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brain") / "run"
    train(folder, arm="none", steps=2)
    return folder


def random_training(seed=0, **more):
    """A tiny network without a block."""
    torch.manual_seed(seed)
    tensors = build_network(NO_BLOCK, None).state_dict()
    tensors["decoder.head.bias"][0] = -20  # whatever it sees, it calls a brain
    checkpoint = SmallCheckpoint(tensors, tensors, step=1500, seconds=5400.0)
    return replace(BrainTraining(checkpoint, NO_BLOCK, "A", seed=7), **more)


def test_a_training_becomes_a_model_of_its_averaged_weights(run, maps, tmp_path):
    folder = export_brain(run, tmp_path / "bundle", maps)
    average = torch.load(run / "last.pt", weights_only=True)["average"]
    network = load_model(folder, "cpu", "fp32").network
    assert not network.training
    stored = network.state_dict()
    for name, tensor in average.items():
        torch.testing.assert_close(stored[name], tensor.float(), atol=1e-4, rtol=1e-3)


def test_a_bundle_says_what_it_is_and_claims_nothing(maps, tmp_path):
    folder = export_brain(random_training(), tmp_path / "bundle", maps)
    metadata = read_bundle(folder).metadata
    entry = model_entry(folder)
    assert (entry.id, entry.title) == ("brain-mr", "Brain, any MR contrast")
    assert (entry.licence, entry.accuracy) == ("Apache-2.0", "not measured")
    assert [label["label"] for label in metadata["labels"]] == [s.label for s in brain_structures()]
    assert metadata["label_table"] == brain_label_table().tolist()
    assert metadata["label_maps"]["train"] == {
        "one": hashlib.sha256((maps / "one.nii.gz").read_bytes()).hexdigest()
    }
    assert set(metadata["label_maps"]["val"]) == {"two"}
    assert metadata["training"] == {"arm": "A", "seed": 7, "step": 1500, "hours": 1.5}
    card = (folder / "docs/README.md").read_text()
    assert "Nothing has been measured yet." in card
    assert "1500 steps in 1.5 hours" in card
    assert "monai.bundle run" in card
    assert (folder / "configs/inference.json").exists()
    assert "Apache License" in (folder / "LICENSE").read_text()


def test_a_bundle_says_which_maps_it_has_seen(maps, tmp_path):
    """Also one from before it did, by `medllmseg bundle BUNDLE --seen MAPS`; of other maps not."""
    folder = export_brain(random_training(), tmp_path / "bundle", maps)
    seen = read_bundle(folder).measured.seen
    one, two = (scan_digest(load_volume(maps / f"{name}.nii.gz")) for name in ("one", "two"))
    assert (seen.known, seen.train.scans, seen.val.scans) == (True, {one}, {two})
    metadata = json.loads((folder / METADATA).read_text())
    del metadata["seen"]
    (folder / METADATA).write_text(json.dumps(metadata))
    assert not read_bundle(folder).measured.seen.known
    assert main(["bundle", str(folder), "--seen", str(maps)]) == 0
    assert read_bundle(folder).measured.seen == seen
    (maps / "two.nii.gz").write_bytes((maps / "one.nii.gz").read_bytes())
    assert main(["bundle", str(folder), "--seen", str(maps)]) == 2
    assert read_bundle(folder).measured.seen == seen


def test_monais_fields_name_the_outputs_and_the_values_of_the_label_map(maps, tmp_path):
    folder = export_brain(random_training(), tmp_path / "bundle", maps)
    formats = read_bundle(folder).metadata["network_data_format"]
    logits, labels = formats["outputs"]["pred"], formats["post_processed_outputs"]["pred"]
    assert logits["num_channels"] == 20
    assert logits["channel_def"]["14"] == "Hippocampus"
    assert logits["channel_def"]["19"] == "Right side"
    assert labels["channel_def"]["53"] == "Right hippocampus"
    assert labels["value_range"] == [0, 60]


def test_a_head_goes_through_the_bundle(maps, tmp_path):
    model = load_model(export_brain(random_training(), tmp_path / "bundle", maps), "cpu", "fp32")
    rng = np.random.default_rng(0)
    head = Volume(rng.normal(size=(24, 30, 20)), np.diag([2.0, 2.0, 2.0, 1.0]), "head")
    found = segment(head, model)
    assert found.labels.array.shape == head.array.shape
    assert set(np.unique(found.labels.array)) <= {0, *(s.label for s in brain_structures())}
    assert found.intracranial is not None


def test_a_bundle_is_brought_up_to_date_in_place(maps, tmp_path, capsys):
    folder = export_brain(random_training(), tmp_path / "bundle", maps)
    before = read_bundle(folder).metadata
    assert main(["bundle", str(folder)]) == 0
    after = read_bundle(folder).metadata
    assert after["weights_sha256"] == before["weights_sha256"]
    assert "1500 steps" in (folder / "docs/README.md").read_text()
    assert (folder / "configs/inference.json").exists()


def test_the_command_takes_a_folder_and_refuses_what_is_not_for_it(run, maps, tmp_path, capsys):
    command = ["bundle", str(run), "--output", str(tmp_path / "out")]
    assert main([*command, "--maps", str(maps)]) == 0
    assert (tmp_path / "out/models/model.safetensors").is_file()
    assert main(command) == 2
    assert "--maps is needed" in capsys.readouterr().err
    assert main([*command, "--maps", str(maps), "--as", "brain-mr"]) == 2
    assert "--as does not go with" in capsys.readouterr().err


def test_a_small_checkpoint_is_read_like_the_folder(tmp_path):
    training = random_training()
    file = tmp_path / "small.safetensors"
    write_small(file, training.checkpoint)
    assert is_brain_training(file)
    read = read_training(file)
    assert (read.checkpoint.step, read.arm) == (1500, "F")
    assert not is_brain_training(tmp_path / "nowhere")


def test_weights_of_another_network_are_refused(maps, tmp_path):
    with pytest.raises(UserError, match="do not fit"):
        wider = replace(NO_BLOCK, width=48)
        export_brain(random_training(config=wider), tmp_path / "bundle", maps)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": "D"}, "Arm D holds a block"),
        ({"size_mb": 0.11}, "0.11 MB are the limit"),
        ({"value": float("nan")}, "the training has failed"),
    ],
)
def test_what_cannot_ship_is_refused(maps, tmp_path, change, message):
    training = random_training(arm=change.get("arm", "A"))
    if "value" in change:
        training.checkpoint.average["decoder.head.bias"][0] = change["value"]
    limit = {"size_mb": change["size_mb"]} if "size_mb" in change else {}
    with pytest.raises(UserError, match=message):
        export_brain(training, tmp_path / "bundle", maps, **limit)


def test_a_missing_map_is_named(maps):
    (maps / "two.nii.gz").unlink()
    with pytest.raises(UserError, match='"two"'):
        map_digests(maps)
