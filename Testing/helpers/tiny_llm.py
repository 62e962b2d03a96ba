"""A small Llama-family model with random weights, and its checkpoints."""

import gguf
import pytest
import torch

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

    def add(name, tensor):
        writer.add_tensor(name, tensor.detach().contiguous().numpy())

    add("token_embd.weight", model.model.embed_tokens.weight)
    add("output_norm.weight", model.model.norm.weight)
    add("output.weight", model.lm_head.weight)
    interleaved_heads = {}
    if architecture == "llama":
        interleaved_heads["self_attn.q_proj"] = config.num_attention_heads
        interleaved_heads["self_attn.k_proj"] = config.num_key_value_heads
    for number in range(config.num_hidden_layers):
        for name, tensor in layer_of(model, number).items():
            module, kind = name.rsplit(".", 1)
            heads = interleaved_heads.get(module)
            rows = interleave(tensor, heads) if heads else tensor
            add(f"blk.{number}.{GGUF_NAMES[module]}.{kind}", rows)
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
