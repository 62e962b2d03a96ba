"""The arms of the chest X-ray ablation: PneumoLLM, versions without one part, and controls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig, PneumoLLMConfig
from MedLLMSegLib.registry.network_config import LLMConfig

from .study_runs import Arm

LAST_LAYER, DEPTH = 29, 4  # of SmolLM2's thirty layers; ours are its last ones
MAIN = "pneumollm"
CONTROLS = ("linear", "random")  # "the frozen language model helps" means better than both
TOKENS, DEPTHS = (1, 2, 8), (1, 30)  # besides the 4 and the `DEPTH` of the main arm


def cxr_arms(classes: tuple[str, ...], size: int = 224) -> dict[str, Arm]:
    """Name -> arm, all with the same encoder and preparation unless they say otherwise.

    size: pixels of the image.
    """
    encoder = EncoderConfig("efficientnet-lite0", image_size=size, frozen=True)
    small = EncoderConfig("cnn", image_size=size)
    llm_config = PneumoLLMConfig(llm=_layers(DEPTH))
    main = ClassifierConfig(MAIN, classes, encoder, llm_config)

    def like(title: str, **changed: Any) -> Arm:
        """The main arm with a part changed, and its learning rate."""
        return Arm(title, replace(main, pneumollm=replace(llm_config, **changed)), like=MAIN)

    return {
        MAIN: Arm(f"PneumoLLM: {llm_config.tokens} tokens, {DEPTH} frozen pretrained layers", main),
        "linear": Arm(
            "linear probe on the same frozen encoder", ClassifierConfig("linear", classes, encoder)
        ),
        # A control that carries the answer: a learning rate of its own, as `linear` has.
        "random": replace(
            like("frozen random layers, norms matched", llm_weights="random"), like=""
        ),
        "mlp": Arm(
            "mean of the tokens and an MLP, same frozen encoder",
            ClassifierConfig("mlp", classes, encoder),
        ),
        "no-llm": like("no language model: token engine, projector and head alone", llm=None),
        "fine-tuned": Arm(
            "encoder fine-tuned, linear head",
            ClassifierConfig("linear", classes, replace(encoder, frozen=False)),
            epochs=4,
            note="fewer epochs, as each takes the whole encoder there and back",
        ),
        "no-emitter": like("without the information emitter", emitter=False),
        "no-engine": like("without the token engine (constant tokens)", token_engine=False),
        "no-adapters": like("without adapters", adapters=False),
        **{f"tokens-{k}": like(f"{k} token{'s' * (k > 1)}", tokens=k) for k in TOKENS},
        "depth-1": like("1 frozen layer", llm=_layers(1)),
        "text": Arm(
            "text branch put back: a prompt, yes and no logits",
            ClassifierConfig("text", classes, encoder, llm_config),
            like=MAIN,
        ),
        "small-cnn": Arm(
            "another encoder: a small CNN trained here, PneumoLLM behind it",
            ClassifierConfig(MAIN, classes, small, llm_config),
        ),
        "small-cnn-linear": Arm(
            "the same small CNN with a linear head", ClassifierConfig("linear", classes, small)
        ),
        "depth-30": like("all 30 frozen layers", llm=_layers(30)),
    }


def _layers(depth: int) -> LLMConfig:
    return LLMConfig(layers=tuple(range(LAST_LAYER + 1 - depth, LAST_LAYER + 1)), rotary=True)
