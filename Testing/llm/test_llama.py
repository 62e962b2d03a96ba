"""The sizes of a Llama block go through JSON and are checked."""

import json

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.weights import LlamaConfig


def test_config_goes_through_json_and_refuses_nonsense():
    config = LlamaConfig(64, 96, 4, 2, 16, 10000.0, 1e-5, 4, "llama3")
    assert LlamaConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for change in (
        {"num_heads": 0},
        {"num_heads": 3},
        {"head_dim": 15},
        {"hidden_size": "64"},
        {"extra": 1},
    ):
        with pytest.raises(UserError):
            LlamaConfig.from_dict(config.to_dict() | change)
    with pytest.raises(UserError, match="head_dim"):
        LlamaConfig.from_dict(
            {key: value for key, value in config.to_dict().items() if key != "head_dim"}
        )
