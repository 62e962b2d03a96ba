"""One Llama block does what transformers' decoder layer does."""

import dataclasses

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.block import LlamaBlock
from MedLLMSegLib.llm.llama import LlamaConfig, LlamaWeights, tensor_shapes
from MedLLMSegLib.llm.weights import read_layers

transformers = pytest.importorskip("transformers")
SIZES = dict(
    vocab_size=50,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
KINDS = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
    "llama with biases": (
        transformers.LlamaConfig,
        transformers.LlamaForCausalLM,
        dict(attention_bias=True, mlp_bias=True),
    ),
    "llama with wide heads": (
        transformers.LlamaConfig,
        transformers.LlamaForCausalLM,
        dict(head_dim=16),
    ),
    "llama, one head a key": (
        transformers.LlamaConfig,
        transformers.LlamaForCausalLM,
        dict(num_key_value_heads=6),
    ),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, dict(head_dim=8)),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {}),
}


def random_model(kind):
    """A small model with every tensor random: biases and norms that stay 0 and 1 would hide
    mistakes.
    """
    config_class, model_class, extra = KINDS[kind]
    torch.manual_seed(3)
    model = model_class(config_class(**(SIZES | dict(rms_norm_eps=1e-3) | extra))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def random_weights(**changes):
    config = LlamaConfig(
        **(
            dict(
                hidden_size=24,
                intermediate_size=40,
                num_heads=4,
                num_key_value_heads=2,
                head_dim=6,
                rope_theta=10000.0,
                rms_norm_eps=1e-5,
                num_layers=2,
            )
            | changes
        )
    )
    generator = torch.Generator().manual_seed(5)
    layer = {
        name: torch.randn(shape, generator=generator) * 0.3
        for name, shape in tensor_shapes(config).items()
    }
    return LlamaWeights(config, {1: layer}, "random", "")


@pytest.mark.parametrize("kind", KINDS)
def test_block_equals_the_layer_of_transformers(kind, tmp_path):
    model = random_model(kind)
    model.save_pretrained(tmp_path)
    seen = {}

    def remember(module, args, kwargs, output):
        seen["in"] = args[0] if args else kwargs["hidden_states"]
        seen["out"] = output[0] if isinstance(output, tuple) else output

    model.model.layers[1].register_forward_hook(remember, with_kwargs=True)
    with torch.no_grad():
        model(torch.randint(0, 50, (2, 11), generator=torch.Generator().manual_seed(1)))
        block = LlamaBlock.from_weights(read_layers(tmp_path, [1]), 1)
        ours = block(seen["in"], causal=True, rotary=True)
        plain = block(seen["in"])
    torch.testing.assert_close(ours, seen["out"], atol=1e-4, rtol=1e-4)
    assert (plain - ours).abs().max() > 1e-2  # the two switches do something


def test_without_rotary_the_order_of_tokens_does_not_matter():
    block = LlamaBlock.from_weights(random_weights(), 1)
    x, order = torch.randn(2, 7, 24), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(block(x)[:, order], block(x[:, order]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(
        block(x, rotary=True)[:, order], block(x[:, order], rotary=True), atol=1e-3
    )


def test_causal_tokens_see_no_later_one_and_others_do():
    block = LlamaBlock.from_weights(random_weights(), 1)
    x = torch.randn(1, 5, 24)
    changed = x.clone()
    changed[:, -1] += 1
    torch.testing.assert_close(block(x, causal=True)[:, :-1], block(changed, causal=True)[:, :-1])
    assert not torch.allclose(block(x)[:, :-1], block(changed)[:, :-1], atol=1e-3)


def test_bfloat16_stays_near_float32():
    block, x = LlamaBlock.from_weights(random_weights(), 1), torch.randn(1, 9, 24)
    exact = block(x, rotary=True)
    rough = block.to(torch.bfloat16)(x.bfloat16(), rotary=True)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() / exact.norm() < 0.03


def test_loading_draws_no_random_number_and_counts_from_the_end():
    state = torch.get_rng_state()
    block = LlamaBlock.from_weights(random_weights(), -1)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(
        block.self_attn.k_proj.weight, random_weights().layers[1]["self_attn.k_proj.weight"]
    )


def test_a_bfloat16_layer_becomes_a_float32_block_of_its_own():
    weights = random_weights()
    rounded = {name: tensor.bfloat16() for name, tensor in weights.layers[1].items()}
    block = LlamaBlock.from_weights(dataclasses.replace(weights, layers={1: rounded}), 1)
    assert {parameter.dtype for parameter in block.parameters()} == {torch.float32}
    block = LlamaBlock.from_weights(weights, 1)
    with torch.no_grad():
        block.mlp.up_proj.weight.zero_()
    assert weights.layers[1]["mlp.up_proj.weight"].abs().max() > 0


def test_scaled_rotary_is_refused_only_when_rotary_is_asked_for():
    block, x = LlamaBlock.from_weights(random_weights(rope_type="llama3"), 1), torch.randn(1, 4, 24)
    assert block(x).shape == x.shape
    with pytest.raises(UserError, match="llama3"):
        block(x, rotary=True)


@pytest.mark.parametrize("spoil", ["missing", "shape", "unknown"])
def test_weights_that_do_not_fit_are_refused(spoil):
    weights = random_weights()
    if spoil == "missing":
        del weights.layers[1]["mlp.up_proj.weight"]
    elif spoil == "shape":
        weights.layers[1]["mlp.up_proj.weight"] = torch.zeros(41, 24)
    else:
        weights.layers[1]["self_attn.q_norm.weight"] = torch.zeros(6)
    with pytest.raises(UserError, match="does not fit"):
        LlamaBlock.from_weights(weights, 1)


def test_a_layer_that_was_not_read_is_named():
    with pytest.raises(UserError, match=r"Layer 0 of random was not read, only \[1\]"):
        LlamaBlock.from_weights(random_weights(), 0)
