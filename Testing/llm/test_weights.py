"""Any Llama-family checkpoint comes in through one door, and only the wanted layers of it."""

import json
import pickle
import shutil

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm import gguf_file
from MedLLMSegLib.llm.weights import LlamaConfig, read_layers, save_layers

transformers = pytest.importorskip("transformers")
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

SIZES = dict(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
)
CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
}
GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attn_output",
    **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
    **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
}


def random_model(kind="llama", **extra):
    config_class, model_class = CLASSES[kind]
    torch.manual_seed(7)
    model = model_class(config_class(**(SIZES | extra))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def layer_of(model, number):
    return dict(model.model.layers[number].state_dict())


def assert_same(tensors, expected):
    assert set(tensors) == set(expected)
    for name in expected:
        assert torch.equal(tensors[name].float(), expected[name].float()), name


def interleave(rows, heads):
    """llama.cpp's order of one projection's rows, written out: 0, half, 1, half + 1, ... in each
    head.
    """
    size = rows.shape[0] // heads
    order = [
        head * size + pair + half
        for head in range(heads)
        for pair in range(size // 2)
        for half in (0, size // 2)
    ]
    return rows[order]


def write_gguf(model, path, architecture="llama", **fields):
    """The model as llama.cpp would store it, in float32."""
    writer, config = gguf.GGUFWriter(path, architecture), model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    for key, value in fields.items():
        writer.add_uint32(key.replace("__", "."), value)
    add = lambda name, tensor: writer.add_tensor(name, tensor.detach().contiguous().numpy())  # noqa: E731
    add("token_embd.weight", model.model.embed_tokens.weight)
    add("output_norm.weight", model.model.norm.weight)
    add("output.weight", model.lm_head.weight)
    for number in range(config.num_hidden_layers):
        for name, tensor in layer_of(model, number).items():
            module, kind = name.rsplit(".", 1)
            if architecture == "llama" and module == "self_attn.q_proj":
                tensor = interleave(tensor, config.num_attention_heads)
            elif architecture == "llama" and module == "self_attn.k_proj":
                tensor = interleave(tensor, config.num_key_value_heads)
            add(f"blk.{number}.{GGUF_NAMES[module]}.{kind}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def layer_of_transformers(path, number):
    """One layer by transformers' own GGUF reader, called below from_pretrained, which wants
    accelerate too.
    """
    parsed = load_gguf_checkpoint(str(path))["config"]
    config = transformers.AutoConfig.for_model(**parsed)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    prefix = f"model.layers.{number}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


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
    shards = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
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


@pytest.mark.parametrize("kind", CLASSES)
def test_a_gguf_file_gives_the_tensors_that_went_in_and_transformers_agrees(kind, tmp_path):
    model = random_model(kind)
    path = write_gguf(model, tmp_path / "tiny.gguf", kind)
    weights = read_layers(path, [1])
    assert_same(weights.layers[1], layer_of(model, 1))
    assert weights.config == LlamaConfig(64, 96, 4, 2, 16, 10000.0, 1e-5, 4)
    assert_same(weights.layers[1], layer_of_transformers(path, 1))


def test_biases_of_a_llama_gguf_are_put_back_in_order_too(tmp_path):
    model = random_model(attention_bias=True)
    weights = read_layers(write_gguf(model, tmp_path / "tiny.gguf"), [0])
    assert_same(weights.layers[0], layer_of(model, 0))


def test_only_the_wanted_layers_of_a_gguf_are_dequantised(tmp_path, monkeypatch):
    path = write_gguf(random_model(), tmp_path / "tiny.gguf")
    sizes, real = [], gguf.quants.dequantize
    monkeypatch.setattr(
        gguf.quants, "dequantize", lambda data, kind: sizes.append(data.size) or real(data, kind)
    )
    read_layers(path, [1])
    assert len(sizes) == len(gguf_file.GGUF_TO_HF)


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


def test_config_goes_through_json_and_refuses_nonsense():
    config = LlamaConfig(64, 96, 4, 2, 16, 10000.0, 1e-5, 4, "llama3")
    assert LlamaConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for change in (
        {"num_heads": 0},
        {"num_heads": 3},
        {"head_dim": 15},
        {"hidden_size": "64"},
        {"extra": 1},
    ):
        with pytest.raises(UserError):
            LlamaConfig.from_dict(config.to_dict() | change)
    with pytest.raises(UserError, match="head_dim"):
        LlamaConfig.from_dict(
            {key: value for key, value in config.to_dict().items() if key != "head_dim"}
        )


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
def test_rotary_scaling_is_noted(tmp_path, key):
    random_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("rope_parameters", None)
    config[key] = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    read = read_layers(tmp_path, [0]).config
    assert (read.rope_type, read.rope_theta) == ("llama3", 5e5)


def spoil_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


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
    "broken config": (lambda f: (f / "config.json").write_text("{"), "no readable config.json"),
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


@pytest.mark.parametrize("kept", [0.5, 0.99, 0.001])
def test_a_gguf_cut_short_is_refused(kept, tmp_path):
    path = write_gguf(random_model(), tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[: max(5, int(path.stat().st_size * kept))])
    with pytest.raises(UserError, match="cut short"):
        read_layers(path, [0])


def test_a_gguf_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="architecture 'gemma2'"):
        read_layers(write_gguf(random_model(), tmp_path / "a.gguf", "gemma2"), [0])
    with pytest.raises(UserError, match="one of 3 pieces"):
        read_layers(write_gguf(random_model(), tmp_path / "b.gguf", split__count=3), [0])


def test_what_is_no_checkpoint_is_refused(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.bin")
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "notes.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
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
    with pytest.raises(UserError, match="Layer 3 .* sha256 differs"):
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
