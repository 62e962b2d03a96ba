"""A PneumoLLM of a tiny random language model, for tests."""

from dataclasses import replace

import torch

from MedLLMSegLib.llm.llama import LlamaConfig, LlamaWeights, tensor_shapes
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig, PneumoLLMConfig
from MedLLMSegLib.registry.network_config import LLMConfig

PART = PneumoLLMConfig(projector_width=16, llm=LLMConfig(layers=(0, 1), rotary=True))
CONFIG = ClassifierConfig(encoder=EncoderConfig("cnn", image_size=32, width=24), pneumollm=PART)


def tiny_language_model():
    """Two random layers of width 24."""
    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=40,
        num_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        num_layers=2,
    )
    generator = torch.Generator().manual_seed(5)
    layers = {
        n: {
            name: torch.randn(shape, generator=generator) * 0.3
            for name, shape in tensor_shapes(config).items()
        }
        for n in range(2)
    }
    return LlamaWeights(config, layers, "random", "")


def tiny_pneumollm(weights, seed=0, kind="pneumollm", **changes):
    """A classifier of any kind with a tiny encoder. changes: of its PneumoLLMConfig."""
    torch.manual_seed(seed)
    part = replace(PART, **changes)
    return build_classifier(
        replace(CONFIG, kind=kind, pneumollm=part if kind == "pneumollm" else None),
        weights if part.llm else None,
    )


def stir(network):
    """Every trained tensor random: what begins at zero would hide mistakes."""
    torch.manual_seed(9)
    with torch.no_grad():
        for p in network.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.3)
    return network.eval()
