"""A Llama block's sizes, its tensors by name and shape, and their sha256."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from MedLLMSegLib.core.errors import UserError, in_short

# Tensors of old files that are no weights
ROTARY_TABLES = ("self_attn.rotary_emb.inv_freq", "attn_rot_embd.weight")
Tensors: TypeAlias = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of one Llama block.

    A ``rope_type`` other than "default" is a scaled rotary embedding, which is not implemented.
    """

    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    num_layers: int
    rope_type: str = "default"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _is_valid(value, str(field.type)):
                raise UserError(
                    f"The language model's {field.name} is {in_short(repr(value))}; a positive"
                    f" {field.type} is "
                    "needed, so check its configuration."
                )
        if self.num_heads % self.num_key_value_heads:
            raise UserError(
                f"The language model has {self.num_heads} heads and {self.num_key_value_heads}"
                " key/value heads; the first must be a multiple of the second, so check its"
                " configuration."
            )
        if self.head_dim % 2:
            raise UserError(
                f"The language model's head_dim is {self.head_dim}; an even number is needed, "
                "so check its configuration."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LlamaConfig:
        """The configuration of such a dict. Raises `UserError` for missing or unknown keys."""
        known = {field.name for field in dataclasses.fields(cls)}
        if wrong := sorted((known ^ set(values)) - {"rope_type"}):
            raise UserError(
                "The language model's configuration has missing or unknown entries"
                f" ({', '.join(wrong)}); "
                f"exactly {', '.join(sorted(known))} are needed."
            )
        return cls(**values)


def _is_valid(value: object, type_name: str) -> bool:
    """Whether a value is a text, or a positive number of the type."""
    if type_name == "str":
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if type_name == "int":
        return isinstance(value, int) and value > 0
    return isinstance(value, (int, float)) and value > 0


@dataclass(frozen=True)
class LlamaWeights:
    """Some layers of a checkpoint.

    layers: ``layers[29]["self_attn.q_proj.weight"]`` is (out, in), as in Hugging Face.
    source: where they come from.
    sha256: of the tensors in bfloat16 (:func:`weights_sha256`), so the same layer has the same one
    in every container. licence: what the file states, or "".
    """

    config: LlamaConfig
    layers: dict[int, Tensors]
    source: str
    sha256: str
    licence: str = ""


def tensor_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that a layer must have.

    A linear layer may also have a ``.bias`` (out,).
    """
    d = config.hidden_size
    ffn = config.intermediate_size
    q = config.num_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    return {
        "input_layernorm.weight": (d,),
        "self_attn.q_proj.weight": (q, d),
        "self_attn.k_proj.weight": (kv, d),
        "self_attn.v_proj.weight": (kv, d),
        "self_attn.o_proj.weight": (d, q),
        "post_attention_layernorm.weight": (d,),
        "mlp.gate_proj.weight": (ffn, d),
        "mlp.up_proj.weight": (ffn, d),
        "mlp.down_proj.weight": (d, ffn),
    }


def layer_sha256(tensors: Tensors) -> str:
    """sha256 of one layer's names, shapes and bfloat16 values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu", torch.bfloat16).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_sha256(layers: Mapping[int, Tensors]) -> str:
    """sha256 of several layers: of their lines "number sha256", in order of number."""
    lines = (f"{layer} {layer_sha256(layers[layer])}\n" for layer in sorted(layers))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def layer_numbers(layers: Sequence[int], config: LlamaConfig, origin: str) -> list[int]:
    """The layers counted from 0, each once, sorted; a negative one counts from the end.

    Raises `UserError`, which names ``origin``, for a layer that does not exist.
    """
    count = config.num_layers
    for layer in layers:
        if not -count <= layer < count:
            raise UserError(
                f"{origin} has layers 0 to {count - 1} and layer {layer} was asked for; choose one"
                " of these, or -1 for the last."
            )
    return sorted({layer % count for layer in layers})


def checked_layer(config: LlamaConfig, layer: int, tensors: Tensors, origin: str) -> Tensors:
    """The layer's tensors by name. Raises `UserError` unless they are those of a Llama block."""
    needed = tensor_shapes(config)
    biases = {
        name.replace(".weight", ".bias"): shape[:1]
        for name, shape in needed.items()
        if "layernorm" not in name
    }
    allowed = needed | biases
    tensors = {name: tensors[name] for name in sorted(tensors) if name not in ROTARY_TABLES}
    if missing := sorted(set(needed) - set(tensors)):
        raise UserError(
            f"Layer {layer} of {origin} lacks {', '.join(missing)}; a plain Llama block is needed,"
            " so download the model again, whole, or choose another."
        )
    if unknown := sorted(set(tensors) - set(allowed)):
        raise UserError(
            f"Layer {layer} of {origin} also holds {', '.join(unknown)}, which a Llama block has no"
            " use for; choose a model that is not quantised to GPTQ or AWQ and has plain Llama"
            " layers."
        )
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != allowed[name] or not tensor.is_floating_point():
            raise UserError(
                f"{name} in layer {layer} of {origin} is {tuple(tensor.shape)} {tensor.dtype}; "
                f"{allowed[name]} in floating point is needed, so download the model again."
            )
    return tensors
