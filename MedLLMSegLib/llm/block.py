"""One Llama block (Touvron et al. 2023): RMSNorm, grouped-query attention, RMSNorm, SwiGLU, two
residuals.

The names of the parts are Hugging Face's, so that a checkpoint's tensors load as they are.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import nn

from MedLLMSegLib.core.errors import UserError

from .llama import LlamaConfig, LlamaWeights


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        """x (..., D) -> (..., D), each vector divided by its root mean square, taken in float32."""
        exact = x.float()
        exact = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * exact.to(x.dtype)


class Attention(nn.Module):
    """Attention in which several query heads share one key/value head (Ainslie et al. 2023)."""

    def __init__(self, config: LlamaConfig, biases: Collection[str]):
        super().__init__()
        self.config = config
        width = config.hidden_size
        queries, keys = (
            config.num_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        )
        self.q_proj = nn.Linear(width, queries, bias="self_attn.q_proj" in biases)
        self.k_proj = nn.Linear(width, keys, bias="self_attn.k_proj" in biases)
        self.v_proj = nn.Linear(width, keys, bias="self_attn.v_proj" in biases)
        self.o_proj = nn.Linear(queries, width, bias="self_attn.o_proj" in biases)

    def forward(self, x, causal: bool = False, rotary: bool = False, mask=None):
        """x (B, N, D) -> (B, N, D). mask (N, N) of bool: whether a query (row) may see a key
        (column); not with causal.
        """
        head_dim = self.config.head_dim
        q = self.q_proj(x).unflatten(-1, (-1, head_dim)).transpose(1, 2)  # (B, heads, N, head_dim)
        k = (
            self.k_proj(x).unflatten(-1, (-1, head_dim)).transpose(1, 2)
        )  # (B, kv heads, N, head_dim)
        v = (
            self.v_proj(x).unflatten(-1, (-1, head_dim)).transpose(1, 2)
        )  # (B, kv heads, N, head_dim)
        if rotary:
            q, k = rotate(q, self.config), rotate(k, self.config)
        # Repeated rather than enable_gqa=True: every backend and the ONNX exporter take it.
        shared = self.config.num_heads // self.config.num_key_value_heads
        k, v = (
            k.repeat_interleave(shared, dim=1),
            v.repeat_interleave(shared, dim=1),
        )  # (B, heads, N, head_dim)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, N, heads * head_dim) -> (B, N, D)


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: LlamaConfig, biases: Collection[str]):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias="mlp.gate_proj" in biases)
        self.up_proj = nn.Linear(width, inner, bias="mlp.up_proj" in biases)
        self.down_proj = nn.Linear(inner, width, bias="mlp.down_proj" in biases)

    def forward(self, x):
        """x (..., D) -> (..., D)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Module):
    """``biases`` names the linear layers that have one: "self_attn.q_proj" and so on; Llama has
    none, Qwen2 three.
    """

    def __init__(self, config: LlamaConfig, biases: Collection[str] = ()):
        super().__init__()
        self.config = config
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, biases)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config, biases)

    def forward(self, x, causal: bool = False, rotary: bool = False, mask=None, adapter=None):
        """x (B, N, D) -> (B, N, D), residuals included.

        ``causal``: token n sees tokens 0 to n only. ``rotary``: rotary position by place in the
        sequence; raises UserError where the model scales its rotary embedding (``rope_type``).
        ``mask`` (N, N) of bool: whether a token (row) may see another (column), instead of
        ``causal``. ``adapter``: a module on what the attention sees.
        """
        seen = self.input_layernorm(x)
        x = x + self.self_attn(seen if adapter is None else adapter(seen), causal, rotary, mask)
        return x + self.mlp(self.post_attention_layernorm(x))

    @classmethod
    def from_weights(cls, weights: LlamaWeights, layer: int) -> LlamaBlock:
        """The block of one layer that was read, in float32. No random number is drawn.

        A negative layer counts from the model's end. Raises UserError if the layer was not read or
        does not fit.
        """
        number = layer + weights.config.num_layers if layer < 0 else layer
        if number not in weights.layers:
            raise UserError(
                f"Layer {layer} of {weights.source} was not read, only {sorted(weights.layers)}; "
                "read it or choose one of these."
            )
        tensors = weights.layers[number]
        with torch.device("meta"):
            block = cls(
                weights.config,
                {name.removesuffix(".bias") for name in tensors if name.endswith(".bias")},
            )
        try:
            block.load_state_dict(
                {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()},
                strict=True,
                assign=True,
            )
        except RuntimeError as error:
            raise UserError(
                f"Layer {layer} of {weights.source} does not fit its configuration; read it again "
                "from the original file."
            ) from error
        return block


def rotate(x, config: LlamaConfig):
    """x (B, heads, N, head_dim) turned by its place in the sequence, in rotate-half form (Su et
    al. 2021).
    """
    if config.rope_type != "default":
        raise UserError(
            f"This language model scales its rotary embedding ({config.rope_type}), which is not "
            "implemented; switch rotary off or choose another model."
        )
    steps = torch.arange(0, config.head_dim, 2, device=x.device, dtype=torch.float32)
    speeds = config.rope_theta ** (-steps / config.head_dim)  # (head_dim / 2,)
    angles = torch.outer(torch.arange(x.shape[2], device=x.device, dtype=torch.float32), speeds)
    angles = angles.repeat(1, 2)  # (N, head_dim)
    first, second = x.chunk(2, dim=-1)  # (B, heads, N, head_dim / 2) each
    turned = torch.cat((-second, first), dim=-1)  # (B, heads, N, head_dim)
    return x * angles.cos().to(x.dtype) + turned * angles.sin().to(x.dtype)
