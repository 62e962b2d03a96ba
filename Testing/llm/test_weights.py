"""Any Llama-family checkpoint is read by one function, and only the wanted layers of it."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.weights import LlamaConfig, read_layers, save_layers
from Testing.helpers.tiny_llm import (
    CLASSES,
    assert_same,
    layer_of,
    random_model,
    write_gguf,
)


@pytest.fixture
def own_file(tmp_path):
    random_model().save_pretrained(tmp_path / "hf")
    save_layers(read_layers(tmp_path / "hf", [1, 3]), tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("shard_size", ["1GB", "80KB"])
def test_a_hugging_face_folder_gives_the_models_tensors(kind, shard_size, tmp_path):
    model = random_model(kind)
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_size == "80KB")
    weights = read_layers(tmp_path, [2, -1])
    assert sorted(weights.layers) == [2, 3]
    for number in (2, 3):
        assert_same(weights.layers[number], layer_of(model, number))
    assert weights.config == LlamaConfig(64, 96, 4, 2, 16, 10000.0, 1e-5, 4)


def test_only_the_shards_of_the_wanted_layer_are_opened(tmp_path):
    model = random_model()
    model.save_pretrained(tmp_path, max_shard_size="80KB")
    shards = json.loads((tmp_path / "model.safetensors.index.json").read_text(encoding="utf-8"))[
        "weight_map"
    ]
    kept = {shard for name, shard in shards.items() if name.startswith("model.layers.2.")}
    others = set(shards.values()) - kept
    assert others
    for shard in others:
        (tmp_path / shard).write_bytes(b"spoilt")
    assert_same(read_layers(tmp_path, [2]).layers[2], layer_of(model, 2))
    with pytest.raises(UserError, match="cut short or not a safetensors file"):
        read_layers(tmp_path, [0])
    for shard in others:
        (tmp_path / shard).unlink()
    with pytest.raises(UserError, match=r"lacks its file model-0000"):
        read_layers(tmp_path, [0])


def test_the_same_layer_has_one_sha256_in_every_container(tmp_path):
    model = random_model()
    model.save_pretrained(tmp_path / "hf")
    from_folder = read_layers(tmp_path / "hf", [1])
    from_gguf = read_layers(write_gguf(model, tmp_path / "tiny.gguf"), [1])
    save_layers(from_gguf, tmp_path / "own.safetensors")
    from_own = read_layers(tmp_path / "own.safetensors", [1])
    assert from_folder.sha256 == from_gguf.sha256 == from_own.sha256
    assert from_folder.config == from_gguf.config == from_own.config
    assert from_own.source == "tiny.gguf"
    assert read_layers(tmp_path / "hf", [2]).sha256 != from_folder.sha256


def test_saving_gives_the_same_bytes_each_time_and_leaves_nothing_else(own_file, tmp_path):
    folder = tmp_path / "again"
    folder.mkdir()
    read = read_layers(own_file, [1, 3])
    read.layers.update({1: dict(reversed(read.layers[1].items()))})
    for _ in range(5):
        save_layers(read, folder / "copy.safetensors")
        assert (folder / "copy.safetensors").read_bytes() == own_file.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["copy.safetensors"]
    assert {tensor.dtype for tensor in load_file(own_file).values()} == {torch.bfloat16}
    with pytest.raises(UserError, match="could not be written"):
        save_layers(read, tmp_path / "no such folder" / "copy.safetensors")


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
def test_rotary_scaling_is_noted(tmp_path, key):
    random_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config.pop("rope_parameters", None)
    config[key] = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    read = read_layers(tmp_path, [0]).config
    assert (read.rope_type, read.rope_theta) == ("llama3", 5e5)


def spoil_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def spoil_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


Q = "model.layers.1.self_attn.q_proj.weight"


SPOILT_FOLDERS = {
    "another architecture": (lambda f: spoil_config(f, model_type="gpt2"), "type 'gpt2'"),
    "another activation": (lambda f: spoil_config(f, hidden_act="gelu"), "'gelu'"),
    "no sizes": (lambda f: spoil_config(f, hidden_size=None), "hidden_size"),
    "no config": (lambda f: (f / "config.json").unlink(), "no readable config.json"),
    "broken config": (
        lambda f: (f / "config.json").write_text("{", encoding="utf-8"),
        "no readable config.json",
    ),
    "pickled weights only": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pickled .bin",
    ),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-9]
        ),
        "cut short",
    ),
    "a tensor missing": (
        lambda f: spoil_tensors(f, lambda t: t.pop(Q)),
        "lacks self_attn.q_proj.weight",
    ),
    "a wrong shape": (
        lambda f: spoil_tensors(f, lambda t: t.update({Q: torch.zeros(64, 63)})),
        r"is \(64, 63\) torch.float32; \(64, 64\)",
    ),
    "a wrong type": (
        lambda f: spoil_tensors(f, lambda t: t.update({Q: torch.zeros(64, 64, dtype=torch.int8)})),
        "torch.int8",
    ),
    "a norm we lack": (
        lambda f: spoil_tensors(
            f, lambda t: t.update({Q.replace("q_proj", "q_norm"): torch.ones(16)})
        ),
        "also holds self_attn.q_norm",
    ),
}


@pytest.mark.parametrize("spoil, message", SPOILT_FOLDERS.values(), ids=SPOILT_FOLDERS)
def test_a_spoilt_folder_is_refused_in_one_sentence(spoil, message, tmp_path):
    random_model().save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        read_layers(tmp_path, [1])


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_does_not_exist_is_refused(layer, tmp_path):
    random_model().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"layers 0 to 3 and layer {layer} "):
        read_layers(tmp_path, [layer])
    with pytest.raises(UserError, match="name at least one"):
        read_layers(tmp_path, [])


def test_what_is_no_checkpoint_is_refused(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.bin")
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "notes.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1", encoding="utf-8"
    )
    (tmp_path / "empty.gguf").write_bytes(b"")
    save_file({"a": torch.zeros(2)}, tmp_path / "plain.safetensors")
    for name, message in (
        ("model.bin", "pickle"),
        ("model.pt", "pickle"),
        ("notes.safetensors", "neither"),
        ("empty.gguf", "neither"),
        ("plain.safetensors", "no model configuration"),
        ("nothing.gguf", "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            read_layers(tmp_path / name, [0])


def test_own_file_knows_its_layers_and_notices_tampering(own_file):
    with pytest.raises(UserError, match="holds layer 1, 3 and layer 2 was asked for"):
        read_layers(own_file, [2])
    data = bytearray(own_file.read_bytes())
    data[-5] ^= 1  # one bit of the last tensor
    own_file.write_bytes(data)
    with pytest.raises(UserError, match=r"Layer 3 .* sha256 differs"):
        read_layers(own_file, [3])
    own_file.write_bytes(data[:-100])
    with pytest.raises(UserError, match="cut short"):
        read_layers(own_file, [3])


def test_a_file_is_told_apart_by_content_not_by_name(tmp_path):
    model = random_model()
    path = write_gguf(model, tmp_path / "tiny.gguf")
    shutil.move(path, tmp_path / "weights.data")
    assert_same(read_layers(tmp_path / "weights.data", [0]).layers[0], layer_of(model, 0))


def test_layer_1_is_not_layer_10(tmp_path):
    model = random_model(num_hidden_layers=11)
    model.save_pretrained(tmp_path)
    write_gguf(model, tmp_path / "tiny.gguf")
    for path in (tmp_path, tmp_path / "tiny.gguf"):
        assert_same(read_layers(path, [1]).layers[1], layer_of(model, 1))
