"""Every choice of a segmentation network checks itself, and comes back from JSON as it was."""

from dataclasses import replace

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.network_config import OURS, PAPER, PAPER_VIT, NetworkConfig

THICK = replace(OURS, strides=((1, 2, 2), (1, 2, 2), (2, 2, 2)), deep_supervision=True)


def test_the_presets_are_what_the_papers_say():
    assert (PAPER_VIT.depth, PAPER_VIT.width, PAPER_VIT.heads, PAPER_VIT.patch_size) == (
        16,
        64,
        4,
        8,
    )
    assert PAPER_VIT.decoder == PAPER.decoder == "linear"
    assert PAPER_VIT.llm is None
    assert replace(PAPER, llm=None) == PAPER_VIT
    assert OURS.attention == "hybrid"
    assert OURS.fusion
    assert OURS.decoder == "conv"
    assert OURS.llm.frozen


def test_configurations_round_trip_through_json():
    import json

    for config in (OURS, PAPER, PAPER_VIT, THICK):
        assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "change",
    (
        dict(attention="local"),
        dict(width=50),
        dict(decoder="conv", embedding="patch"),
        dict(strides=((2, 2, 2),) * 2),
        dict(strides=((2, 2, 2), (2, 2, 3), (2, 2, 2))),
        dict(strides=((2, 2, 2), (1, 1, 1), (2, 2, 2))),
        dict(strides=((2, 2),) * 3),
        dict(depth=0),
        dict(deep_supervision=True, decoder="linear"),
    ),
)
def test_impossible_configurations_are_refused(change):
    with pytest.raises(UserError):
        replace(OURS, **change)


def test_unknown_settings_are_refused():
    with pytest.raises(UserError, match="no setting called 'colour'"):
        NetworkConfig.from_dict({"colour": 1})
