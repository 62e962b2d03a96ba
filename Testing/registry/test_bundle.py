"""Bundles are read whole and unchanged, or not at all."""

import hashlib
import json
import os
import sys

import pytest
import torch

from MedLLMSegLib import UserError, list_models
from MedLLMSegLib.core.folder_exchange import exchange_folders
from MedLLMSegLib.registry.bundle import WEIGHTS, load_strictly, read_bundle, write_bundle
from MedLLMSegLib.registry.catalogue import METADATA, find_model, model_entry

TENSORS = {"weight": torch.linspace(-1, 1, 12).reshape(3, 4), "bias": torch.zeros(3)}
ABOUT = {
    "id": "x",
    "title": "X",
    "kind": "segmenter",
    "modality": "MR",
    "structures": ["y"],
    "licence": "MIT",
    "accuracy": "not measured",
}


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / "x", ABOUT, TENSORS, "card", "licence")


def test_what_was_written_is_read(folder):
    bundle = read_bundle(folder)
    assert {k: v.dtype for k, v in bundle.tensors.items()} == {
        "weight": torch.float32,
        "bias": torch.float32,
    }
    assert torch.allclose(bundle.tensors["weight"], TENSORS["weight"], atol=1e-3)
    assert model_entry(folder).title == "X"
    assert (folder / "LICENSE").read_text(encoding="utf-8") == "licence"


def test_writing_again_replaces_and_leaves_nothing_behind(folder):
    write_bundle(folder, {**ABOUT, "title": "Z"}, TENSORS, "card", "licence")
    assert model_entry(folder).title == "Z"
    assert [p.name for p in folder.parent.iterdir()] == ["x"]


def test_an_old_bundle_stays_where_the_new_one_cannot_take_its_place(folder, monkeypatch):
    move = os.replace

    def move_unless_new(source, target):
        if target == folder and not source.name.endswith("-old"):
            raise PermissionError(13, "in use")
        move(source, target)

    monkeypatch.setattr(os, "replace", move_unless_new)
    monkeypatch.setattr("MedLLMSegLib.registry.bundle.exchange_folders", lambda *_: False)
    with pytest.raises(UserError):
        write_bundle(folder, {**ABOUT, "title": "Z"}, TENSORS, "card", "licence")
    assert model_entry(folder).title == "X"
    assert read_bundle(folder).tensors
    assert [p.name for p in folder.parent.iterdir()] == ["x"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone exchanges folders")
def test_there_is_a_whole_bundle_at_every_moment(folder, monkeypatch):
    probe = folder.parent / "probe"
    probe.mkdir()
    if not exchange_folders(folder, probe):
        pytest.skip("this file system exchanges no folders")
    exchange_folders(folder, probe)
    probe.rmdir()

    def no_moment_between(source, target):
        raise AssertionError(f"{source} was moved to {target}, and something before it away")

    monkeypatch.setattr(os, "replace", no_moment_between)
    write_bundle(folder, {**ABOUT, "title": "Z"}, TENSORS, "card", "licence")
    assert read_bundle(folder).metadata["title"] == "Z"
    assert [p.name for p in folder.parent.iterdir()] == ["x"]


def break_weights(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


DAMAGE = {
    "one bit changed": (break_weights, "not the ones it was published with"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "no readable"),
    "no metadata": (lambda f: (f / METADATA).unlink(), "not a model bundle"),
    "broken metadata": (lambda f: (f / METADATA).write_text("{"), "damaged"),
    "no sha256": (lambda f: (f / METADATA).write_text(json.dumps(ABOUT)), "no sha256"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name, folder):
    damage, words = DAMAGE[name]
    damage(folder)
    with pytest.raises(UserError, match=words):
        read_bundle(folder)


def test_weights_must_fit_the_network():
    network = torch.nn.Linear(4, 3)
    load_strictly(network, TENSORS)
    assert torch.equal(network.weight, TENSORS["weight"])
    for wrong in (
        {"weight": TENSORS["weight"]},
        {**TENSORS, "more": torch.zeros(1)},
        {**TENSORS, "bias": torch.zeros(4)},
    ):
        with pytest.raises(UserError, match="do not fit"):
            load_strictly(network, wrong)


def test_unknown_models_are_named_with_the_known_ones():
    with pytest.raises(UserError, match="hippocampus-t1"):
        find_model("spleen")
    with pytest.raises(UserError, match="finds an organ"):
        find_model("brain-t1-localizer")


def test_the_shipped_bundles_are_whole_small_and_licensed():
    entries = list_models(kind=None)
    assert {e.id for e in entries} >= {"brain-mr", "hippocampus-t1", "brain-t1-localizer"}
    for entry in entries:
        read_bundle(entry.folder)
        assert sum(p.stat().st_size for p in entry.folder.rglob("*") if p.is_file()) < 10e6
        assert entry.licence
        assert entry.accuracy != "not measured"
        assert len((entry.folder / "LICENSE").read_text(encoding="utf-8")) > 500
        assert entry.accuracy in (entry.folder / "docs/README.md").read_text(encoding="utf-8")


def test_weights_that_are_no_safetensors_file_are_refused_though_their_sha256_fits(tmp_path):
    folder = write_bundle(tmp_path / "b", {"id": "b"}, {}, "card", "licence")
    (folder / WEIGHTS).write_bytes(b"not tensors")
    metadata = json.loads((folder / METADATA).read_text())
    metadata["weights_sha256"] = hashlib.sha256(b"not tensors").hexdigest()
    (folder / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="no readable safetensors"):
        read_bundle(folder)


def test_metadata_nested_without_end_are_damaged(tmp_path):
    folder = write_bundle(tmp_path / "b", {"id": "b"}, {}, "card", "licence")
    (folder / METADATA).write_text("[" * 100_000)
    with pytest.raises(UserError, match="damaged"):
        read_bundle(folder)
