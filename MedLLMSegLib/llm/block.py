"""One Llama block (Touvron et al. 2023): grouped-query attention and SwiGLU, each after an RMSNorm
and with a residual.

The parts have Hugging Face's names, so that a checkpoint's tensors load as they are.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError

from .llama import LlamaConfig, LlamaWeights


class RMSNorm(nn.Module):
    """Division by the root mean square, then a learned scale (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D). The root mean square is computed in float32."""
        exact = x.float()
        mean_square = exact.square().mean(-1, keepdim=True)  # (..., 1)
        normalised = exact * torch.rsqrt(mean_square + self.eps)
        return self.weight * normalised.to(x.dtype)


class LlamaAttention(nn.Module):
    """Attention in which several query heads share one key/value head (Ainslie et al. 2023)."""

    def __init__(self, config: LlamaConfig, biases: Collection[str]):
        super().__init__()
        self.config = config
        width = config.hidden_size
        queries = config.num_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(width, queries, bias="self_attn.q_proj" in biases)
        self.k_proj = nn.Linear(width, keys, bias="self_attn.k_proj" in biases)
        self.v_proj = nn.Linear(width, keys, bias="self_attn.v_proj" in biases)
        self.o_proj = nn.Linear(queries, width, bias="self_attn.o_proj" in biases)

    def forward(
        self, x: Tensor, causal: bool = False, rotary: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """x (B, N, D) -> (B, N, D).

        mask: (N, N) of bool, whether a query (row) may see a key (column); not with ``causal``.
        """
        q = self._heads(self.q_proj(x))  # (B, heads, N, head_dim)
        k = self._heads(self.k_proj(x))  # (B, kv heads, N, head_dim)
        v = self._heads(self.v_proj(x))  # (B, kv heads, N, head_dim)
        if rotary:
            q, k = rotate(q, self.config), rotate(k, self.config)
        # Repeated rather than enable_gqa=True: every backend and the ONNX exporter accept it.
        queries_per_key = self.config.num_heads // self.config.num_key_value_heads
        k = k.repeat_interleave(queries_per_key, dim=1)  # (B, heads, N, head_dim)
        v = v.repeat_interleave(queries_per_key, dim=1)  # (B, heads, N, head_dim)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, N, heads * head_dim) -> (B, N, D)

    def _heads(self, x: Tensor) -> Tensor:
        """x (B, N, heads * head_dim) -> (B, heads, N, head_dim)."""
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)


class SwiGLU(nn.Module):
    """The block's gated MLP (Shazeer 2020)."""

    def __init__(self, config: LlamaConfig, biases: Collection[str]):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias="mlp.gate_proj" in biases)
        self.up_proj = nn.Linear(width, inner, bias="mlp.up_proj" in biases)
        self.down_proj = nn.Linear(inner, width, bias="mlp.down_proj" in biases)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        gate = F.silu(self.gate_proj(x))  # (..., inner)
        return self.down_proj(gate * self.up_proj(x))


class LlamaBlock(nn.Module):
    """The block. biases: the linear layers that have one, such as "self_attn.q_proj".

    Llama has none, Qwen2 has three.
    """

    def __init__(self, config: LlamaConfig, biases: Collection[str] = ()):
        super().__init__()
        self.config = config
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LlamaAttention(config, biases)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config, biases)

    def forward(
        self,
        x: Tensor,
        causal: bool = False,
        rotary: bool = False,
        mask: Tensor | None = None,
        adapter: nn.Module | None = None,
    ) -> Tensor:
        """x (B, N, D) -> (B, N, D), residuals included.

        causal: token n sees tokens 0 to n only.
        rotary: rotary embedding of the place in the sequence. Raises `UserError` if the model
        scales it (``rope_type``).
        mask: (N, N) of bool, whether a token (row) may see another (column); not with ``causal``.
        adapter: a module on the attention's input.
        """
        attention_input = self.input_layernorm(x)
        if adapter is not None:
            attention_input = adapter(attention_input)
        x = x + self.self_attn(attention_input, causal, rotary, mask)
        return x + self.mlp(self.post_attention_layernorm(x))

    @classmethod
    def from_weights(cls, weights: LlamaWeights, layer: int) -> LlamaBlock:
        """The block of one layer that was read, in float32. No random number is drawn.

        A negative layer counts from the model's end. Raises `UserError` if the layer was not read
        or does not fit.
        """
        number = layer + weights.config.num_layers if layer < 0 else layer
        if number not in weights.layers:
            raise UserError(
                f"Layer {layer} of {weights.source} was not read, only {sorted(weights.layers)}; "
                "read it or choose one of these."
            )
        tensors = weights.layers[number]
        biases = {name.removesuffix(".bias") for name in tensors if name.endswith(".bias")}
        with torch.device("meta"):
            block = cls(weights.config, biases)
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


def rotate(x: Tensor, config: LlamaConfig) -> Tensor:
    """Rotary embedding of the place in the sequence, in rotate-half form (Su et al. 2021).

    x (B, heads, N, head_dim) -> the same shape.
    """
    if config.rope_type != "default":
        raise UserError(
            f"This language model scales its rotary embedding ({config.rope_type}), which is not "
            "implemented; switch rotary off or choose another model."
        )
    pairs = torch.arange(0, config.head_dim, 2, device=x.device, dtype=torch.float32)
    frequencies = config.rope_theta ** (-pairs / config.head_dim)  # (head_dim / 2,)
    places = torch.arange(x.shape[2], device=x.device, dtype=torch.float32)
    angles = torch.outer(places, frequencies).repeat(1, 2)  # (N, head_dim)
    first, second = x.chunk(2, dim=-1)  # (B, heads, N, head_dim / 2) each
    rotated = torch.cat((-second, first), dim=-1)  # (B, heads, N, head_dim)
    return x * angles.cos().to(x.dtype) + rotated * angles.sin().to(x.dtype)
