"""Medians, ratios of one run, exponents, and which ratios became worse."""

import pytest

from MedLLMSegLib.studies.speed.arithmetic import exponent, ratio_of_rounds, ratios, worse


def test_a_ratio_is_taken_round_by_round():
    """In the second round the machine was three times as slow for both. Of medians the ratio would
    be 3.
    """
    assert ratio_of_rounds([1.0, 6.0, 3.0], [2.0, 12.0, 1.0]) == 0.5


def test_ours_is_compared_with_each_of_the_others():
    seconds = {"ours": [1.0, 1.0, 1.0], "theirs": [2.0, 4.0, 5.0], "alone": [0.5, 0.5, 0.5]}
    assert ratios(seconds, "ours") == {"theirs": 0.25, "alone": 2.0}


@pytest.mark.parametrize("power", (0.0, 1.0, 1.5))
def test_the_exponent_of_a_power_is_found(power):
    amounts = [64**3, 128**3, 512**3]
    assert exponent(amounts, [7e-9 * a**power for a in amounts]) == pytest.approx(power, abs=1e-9)


def test_a_fixed_cost_lowers_the_exponent():
    amounts = [1e5, 1e6, 1e7]
    assert 0.1 < exponent(amounts, [1 + 1e-6 * a for a in amounts]) < 0.9


def test_one_size_shows_no_growth():
    with pytest.raises(ValueError, match="1 amounts"):
        exponent([10.0, 10.0], [1.0, 2.0])


def test_a_ratio_may_be_worse_by_the_slack_alone():
    reached = {"MONAI": 0.5, "network alone": 1.0}
    assert worse({"MONAI": 0.64, "network alone": 1.29}, reached) == {}
    assert worse({"MONAI": 0.66, "network alone": 0.2}, reached) == {"MONAI": (0.66, 0.5)}


def test_what_was_not_measured_or_never_reached_is_no_evidence():
    assert worse({"new": 9.0}, {"old": 0.1}) == {}
