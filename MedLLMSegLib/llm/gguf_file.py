"""Layers of a GGUF file (llama.cpp's format), under Hugging Face's names and row order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from MedLLMSegLib.core.errors import UserError, in_short

from .gguf_check import check_lengths
from .llama import LlamaConfig, LlamaWeights, Tensors, checked_layer, layer_numbers, weights_sha256

GGUF_ARCHITECTURES = ("llama", "qwen2")  # Mistral is stored as "llama"
# Modules whose rows llama.cpp reorders for interleaved rotary embedding, by architecture
GGUF_PERMUTED: dict[str, tuple[str, ...]] = {
    "llama": ("self_attn.q_proj", "self_attn.k_proj"),
    "qwen2": (),
}
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
    """Read layers of a GGUF file, which is memory-mapped; no other layer is dequantised.

    Raises `UserError`.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UserError(
            "Reading a GGUF file needs the package gguf; install it with 'pip install gguf'."
        ) from error
    try:
        check_lengths(path)
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
    config: LlamaConfig, layer: int, stored: Mapping[str, Any], permuted: Sequence[str], origin: str
) -> Tensors:
    from gguf.quants import dequantize

    tensors = {}
    for name, tensor in stored.items():
        prefix = f"blk.{layer}."
        if not name.startswith(prefix):
            continue
        stem, _, kind = name.removeprefix(prefix).partition(".")  # "attn_q", "weight"
        module = GGUF_TO_HF.get(stem, stem)
        try:
            values = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
            if module in permuted:
                values = _unpermute(values, config.head_dim)
        except NotImplementedError as error:
            raise UserError(
                f"{origin} is quantised as {tensor.tensor_type.name}, which cannot be read"
                " here; choose a Q4, Q8 or F16 file of the same model."
            ) from error
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"The tensor {in_short(name)} in {origin} has another shape than its head says;"
                " download the file again."
            ) from error
        tensors[f"{module}.{kind}"] = values
    return checked_layer(config, layer, tensors, origin)


def _unpermute(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of each head in (half, pair) order, for rotate-half rotary; GGUF has (pair, half)."""
    pairs = rows.unflatten(0, (-1, head_dim // 2, 2))  # (heads, head_dim / 2, 2, ...)
    return pairs.transpose(1, 2).flatten(0, 2).contiguous()  # (heads * head_dim, ...)


def _config_from_gguf(fields: Mapping[str, Any], scaled_by_table: bool, path: Path) -> LlamaConfig:
    """The sizes in a file's fields. scaled_by_table: whether it has a table of rotary factors."""
    architecture = fields.get("general.architecture")
    if architecture not in GGUF_ARCHITECTURES:
        raise UserError(
            f"{path.name} is a model of architecture {in_short(repr(architecture))}; one of "
            f"{', '.join(GGUF_ARCHITECTURES)} is needed, so choose another model."
        )
    if fields.get("split.count", 1) > 1:
        raise UserError(
            f"{path.name} is one of {fields['split.count']} pieces; join them with "
            "'llama-gguf-split --merge' and choose the whole file."
        )
    prefix = f"{architecture}."
    own = {key.removeprefix(prefix): v for key, v in fields.items() if key.startswith(prefix)}
    needed = ("embedding_length", "feed_forward_length", "attention.head_count", "block_count")
    missing = [key for key in needed if not isinstance(own.get(key), int)]
    if missing:
        raise UserError(
            f"{path.name} gives no single number for {', '.join(missing)}; download it again or"
            " choose another model."
        )
    heads = own["attention.head_count"]
    head_dim = own.get("attention.key_length", own["embedding_length"] // max(heads, 1))
    return LlamaConfig(
        hidden_size=own["embedding_length"],
        intermediate_size=own["feed_forward_length"],
        num_heads=heads,
        num_key_value_heads=own.get("attention.head_count_kv", heads),
        head_dim=head_dim,
        rope_theta=from_float32(own.get("rope.freq_base", 10000.0)),
        rms_norm_eps=from_float32(own.get("attention.layer_norm_rms_epsilon", 1e-6)),
        num_layers=own["block_count"],
        rope_type=_rope_type(own, head_dim, scaled_by_table),
    )


def _rope_type(own: Mapping[str, Any], head_dim: int, scaled_by_table: bool) -> str:
    """Hugging Face's name of the rotary embedding's kind; "partial" for a part of a head."""
    if own.get("rope.dimension_count", head_dim) != head_dim:
        return "partial"
    if scaled_by_table:
        return "llama3"
    rope_type: str = own.get("rope.scaling.type", "default")
    return "default" if rope_type == "none" else rope_type


def from_float32(value: float) -> float:
    """A float32 rounded to its 7 significant digits: GGUF has 9.999999747378752e-06 for 1e-05."""
    return float(f"{value:.7g}")
