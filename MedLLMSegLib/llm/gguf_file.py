"""Read layers of a GGUF file (llama.cpp's format) under Hugging Face's names and row order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from MedLLMSegLib.core.errors import UserError

from .llama import LlamaConfig, LlamaWeights, Tensors, checked_layer, layer_numbers, weights_sha256

GGUF_ARCHITECTURES = ("llama", "qwen2")  # Mistral is stored as "llama"
# llama.cpp reorders the rows of these for interleaved rotary embedding, in "llama" files and not in
# "qwen2" ones.
GGUF_PERMUTED = {"llama": ("self_attn.q_proj", "self_attn.k_proj"), "qwen2": ()}
GGUF_TO_HF = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def read_gguf(path: Path, layers: Sequence[int]) -> LlamaWeights:
    """A GGUF file, memory-mapped; only the wanted layers' tensors are dequantised."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UserError(
            "Reading a GGUF file needs the package gguf; install it with 'pip install gguf'."
        ) from error
    try:
        reader = GGUFReader(path)
        fields = {
            key: field.contents()
            for key, field in reader.fields.items()
            if not key.startswith("tokenizer.")
        }
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError) as error:
        raise UserError(
            f"{path.name} is cut short or damaged, not a whole GGUF file; download it again."
        ) from error
    stored = {tensor.name: tensor for tensor in reader.tensors}
    config = _config_from_gguf(fields, "rope_freqs.weight" in stored, path)
    permuted = GGUF_PERMUTED[fields["general.architecture"]]
    read = {
        layer: _read_gguf_layer(config, layer, stored, permuted, path.name)
        for layer in layer_numbers(layers, config, path.name)
    }
    return LlamaWeights(
        config, read, path.name, weights_sha256(read), str(fields.get("general.license", ""))
    )


def _read_gguf_layer(
    config: LlamaConfig, layer: int, stored: Mapping, permuted: Sequence[str], origin: str
) -> Tensors:
    from gguf.quants import dequantize

    tensors = {}
    for name in stored:
        if not name.startswith(f"blk.{layer}."):
            continue
        stem, _, kind = name.removeprefix(f"blk.{layer}.").partition(".")  # "attn_q", "weight"
        try:
            values = torch.tensor(dequantize(stored[name].data, stored[name].tensor_type))
        except NotImplementedError as error:
            raise UserError(
                f"{origin} is quantised as {stored[name].tensor_type.name}, which cannot be read"
                " here; choose a Q4, Q8 or F16 file of the same model."
            ) from error
        module = GGUF_TO_HF.get(stem, stem)
        tensors[f"{module}.{kind}"] = (
            _unpermute(values, config.head_dim) if module in permuted else values
        )
    return checked_layer(config, layer, tensors, origin)


def _unpermute(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of each head from (pair, half) order, which GGUF keeps, to (half, pair) for
    rotate-half rotary.
    """
    pairs = rows.unflatten(0, (-1, head_dim // 2, 2))  # (heads, head_dim / 2, 2, ...)
    return pairs.transpose(1, 2).flatten(0, 2).contiguous()  # (heads * head_dim, ...)


def _config_from_gguf(fields: Mapping, scaled_by_table: bool, path: Path) -> LlamaConfig:
    architecture = fields.get("general.architecture")
    if architecture not in GGUF_ARCHITECTURES:
        raise UserError(
            f"{path.name} is a model of architecture {architecture!r}; one of "
            f"{', '.join(GGUF_ARCHITECTURES)} is needed, so choose another model."
        )
    if fields.get("split.count", 1) > 1:
        raise UserError(
            f"{path.name} is one of {fields['split.count']} pieces; join them with "
            "'llama-gguf-split --merge' and choose the whole file."
        )
    get = lambda key, default=None: fields.get(f"{architecture}.{key}", default)  # noqa: E731
    needed = ("embedding_length", "feed_forward_length", "attention.head_count", "block_count")
    missing = [key for key in needed if not isinstance(get(key), int)]
    if missing:
        raise UserError(
            f"{path.name} gives no single number for {', '.join(missing)}; download it again or"
            " choose another model."
        )
    heads = get("attention.head_count")
    head_dim = get("attention.key_length", get("embedding_length") // max(heads, 1))
    rope_type = "llama3" if scaled_by_table else get("rope.scaling.type", "default")
    if get("rope.dimension_count", head_dim) != head_dim:
        rope_type = "partial"
    return LlamaConfig(
        hidden_size=get("embedding_length"),
        intermediate_size=get("feed_forward_length"),
        num_heads=heads,
        num_key_value_heads=get("attention.head_count_kv", heads),
        head_dim=head_dim,
        rope_theta=_from_float32(get("rope.freq_base", 10000.0)),
        rms_norm_eps=_from_float32(get("attention.layer_norm_rms_epsilon", 1e-6)),
        num_layers=get("block_count"),
        rope_type="default" if rope_type == "none" else rope_type,
    )


def _from_float32(value: float) -> float:
    """The number that was meant: GGUF keeps 1e-05 as 9.999999747378752e-06."""
    return float(f"{value:.7g}")
