"""Settings from JSON of a wrong kind, or none at all: a sentence each time, no TypeError."""

import copy
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.classifier_config import (
    ClassifierConfig,
    EncoderConfig,
    PneumoLLMConfig,
    PreparationConfig,
    RecordConfig,
)
from MedLLMSegLib.registry.network_config import OURS, NetworkConfig
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.training.classifier.classifier_recipe import ClassifierLoop
from MedLLMSegLib.training.segmenter.planning.plan import DataPlan
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

PLAN = DataPlan((1, 1, 1), "ras", (8, 8, 8), 2, ((2, 2, 2),), (0,), (15, 0, 0), 0.1)
FUSION = ClassifierConfig(
    "fusion", ("no", "yes"), EncoderConfig(), record=RecordConfig(("age",), {"sex": ("f", "m")})
)
PNEUMOLLM = ClassifierConfig("pneumollm", ("no", "yes"), EncoderConfig(), PneumoLLMConfig())
CONFIGS = [OURS, PNEUMOLLM, FUSION, PreparationConfig(), TrainConfig(), ClassifierLoop(), PLAN]
FROM_JSON = {
    type(config): type(config).from_dict
    for config in (
        NetworkConfig(),
        PNEUMOLLM,
        PreparationConfig(),
        TrainConfig(),
        ClassifierLoop(),
        PLAN,
    )
}
ODD = st.one_of(
    st.sampled_from(["x", None, True, math.nan, math.inf, -math.inf, 1e308, 10**30, -1, {}, []]),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def as_json(config):
    plain = config.to_dict() if hasattr(config, "to_dict") else vars(config)
    return json.loads(json.dumps(plain, default=vars))


def places(settings, path=()):
    """Every name in nested settings, and the settings as a whole."""
    yield path
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from places(value, (*path, name))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_what_was_written_is_read(config):
    assert type(config).from_dict(as_json(config)) == config


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(CONFIGS).flatmap(
        lambda config: st.tuples(
            st.just(config), st.sampled_from(list(places(as_json(config)))), ODD
        )
    )
)
def test_any_value_in_any_place_gives_settings_or_a_sentence(case):
    config, path, odd = case
    changed = {"all": as_json(config)}
    place = changed
    for name in ("all", *path)[:-1]:
        place = place[name]
    place[("all", *path)[-1]] = copy.deepcopy(odd)
    try:
        FROM_JSON[type(config)](changed["all"])
    except UserError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "config, name, value, sentence",
    [
        (OURS, "width", "96", "NetworkConfig.width is '96', and a whole number is needed"),
        (OURS, "mlp_ratio", math.nan, "NetworkConfig.mlp_ratio is nan, and a number is needed"),
        (OURS, "stem_channels", 12, "stem_channels is 12, and a list, each a whole number is"),
        (OURS, "fusion", 1, "fusion is 1, and true or false is needed"),
        (PLAN, "window", [8, 8], "window is \\(8, 8\\), and a list of 3, each a whole number is"),
        (TrainConfig(), "lr", None, "lr is None, and a number is needed"),
    ],
)
def test_the_sentence_says_what_was_found_and_what_is_needed(config, name, value, sentence):
    with pytest.raises(UserError, match=sentence):
        type(config).from_dict({**as_json(config), name: value})


BUNDLE = {"spacing_mm": [5.0, 1.5, 1.5], "axes": "scan", "grey": [-100, 300, 40.5, 90], "flips": []}


@pytest.mark.parametrize(
    "odd, sentence",
    [
        (None, "settings of Preparation are None, and names with values are needed"),
        ([], r"settings of Preparation are \[\], and names with values are needed"),
        ({}, "settings of Preparation state no spacing_mm"),
        (BUNDLE | {"spacing_mm": "1 mm"}, "spacing_mm is '1 mm', and a number or a list of 3"),
        (BUNDLE | {"spacing_mm": [1, 1]}, "spacing_mm is .*, and a number or a list of 3"),
        (BUNDLE | {"spacing_mm": [1, 0, 1]}, r"spacing_mm is \(1, 0, 1\), and must be above 0"),
        (BUNDLE | {"grey": [1, 2]}, "grey is .*, and a list of 4, each a number or null is needed"),
        (BUNDLE | {"axes": 3}, "axes is 3, and a text is needed"),
    ],
)
def test_a_bundles_preprocessing_of_a_wrong_kind_gets_a_sentence(odd, sentence):
    with pytest.raises(UserError, match=sentence):
        Preparation.from_settings(odd)


def test_a_bundles_preprocessing_is_read():
    assert Preparation.from_settings(BUNDLE) == Preparation(
        (5.0, 1.5, 1.5), "scan", (-100, 300, 40.5, 90)
    )
    assert Preparation.from_settings({"spacing_mm": 1, "grey": None}) == Preparation(1.0)
