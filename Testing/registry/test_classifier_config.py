"""Every choice of a classifier checks itself, and comes back from JSON as it was."""

import json
from dataclasses import replace

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.classifier_config import (
    ClassifierConfig,
    EncoderConfig,
    PneumoLLMConfig,
    PreparationConfig,
    RecordConfig,
)
from MedLLMSegLib.registry.network_config import LLMConfig

RECORD = RecordConfig(("age",), {"sex": ("F", "M")}, (46.5,), (16.0,))


@pytest.mark.parametrize(
    "config",
    (
        PreparationConfig(size=128, crop="none"),
        ClassifierConfig(pneumollm=PneumoLLMConfig()),
        ClassifierConfig(
            pneumollm=PneumoLLMConfig(
                llm=LLMConfig(layers=(0, -1), rotary=True), llm_weights="random"
            )
        ),
        ClassifierConfig(
            pneumollm=PneumoLLMConfig(llm=None, emitter=False, token_engine=False, adapters=False)
        ),
        ClassifierConfig(kind="linear", encoder=EncoderConfig(depths=(2, 4), frozen=True)),
        ClassifierConfig(kind="fusion", record=RECORD, classes=("a", "b", "c")),
    ),
    ids=lambda c: getattr(c, "kind", "preparation"),
)
def test_a_configuration_comes_back_from_json_as_it_was(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "wrong, message",
    (
        (lambda: EncoderConfig("resnet"), "kind is 'resnet', and one of 'cnn'"),
        (lambda: EncoderConfig("folder"), "has no path"),
        (lambda: EncoderConfig(depths=(3, 1)), "rising whole numbers"),
        (lambda: EncoderConfig(depths=(0, 1)), "rising whole numbers"),
        (lambda: PneumoLLMConfig(tokens=0), "tokens is 0"),
        (lambda: PneumoLLMConfig(adapter_width=7), "must be even"),
        (lambda: PneumoLLMConfig(dropout=1.0), "dropout is 1.0"),
        (lambda: PneumoLLMConfig(llm=LLMConfig(frozen=False)), "always frozen"),
        (lambda: PreparationConfig(crop="heart"), "crop is 'heart'"),
        (RecordConfig, "neither numbers nor categories"),
        (lambda: replace(RECORD, means=(1.0, 2.0)), "one number for each"),
        (lambda: replace(RECORD, means=(float("nan"),)), "one number for each"),
        (lambda: replace(RECORD, stds=(0.0,)), "never varies"),
        (lambda: RecordConfig(categories={"sex": ("F", "F")}), "different values"),
        (lambda: ClassifierConfig(kind="linear", classes=("only",)), "two different names"),
        (lambda: ClassifierConfig(kind="pneumollm"), "needs a PneumoLLMConfig"),
        (
            lambda: ClassifierConfig(kind="linear", pneumollm=PneumoLLMConfig()),
            "no use for a PneumoLLMConfig",
        ),
        (lambda: ClassifierConfig(kind="linear", record=RECORD), "reads no record"),
        (lambda: ClassifierConfig(kind="text", pneumollm=PneumoLLMConfig(llm=None)), "yes or no"),
        (
            lambda: ClassifierConfig(
                kind="text", pneumollm=PneumoLLMConfig(), classes=("a", "b", "c")
            ),
            "yes or no",
        ),
        (lambda: ClassifierConfig.from_dict({"kinds": "linear"}), "no setting called 'kinds'"),
    ),
)
def test_a_wrong_setting_is_named(wrong, message):
    with pytest.raises(UserError, match=message):
        wrong()
