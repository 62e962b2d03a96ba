"""Numbers as the pages in docs/ write them."""

import pytest

from MedLLMSegLib.reporting.markdown import margin, p_value


@pytest.mark.parametrize(
    "value, error, text",
    [
        (0.0123, None, "0.012"),
        (0.0123, 0.0, "0.012"),
        (0.0123, 0.00042, "0.012 ± 0.0004"),
        (0.5, 2e-5, "0.500 ± 0.0001"),
        (0.0004, None, "< 0.001"),
        (0.0004, 1e-5, "< 0.001"),
        (0.0009, 0.0002, "0.001 ± 0.0002"),  # another draw may say more than 0.001
        (None, None, "-"),
    ],
)
def test_a_p_value_with_its_monte_carlo_error(value, error, text):
    assert p_value(value, error=error) == text


def test_a_margin_is_rounded_away_from_zero():
    """The rounded margin is excluded still."""
    assert margin(0.01201, 3) == "±0.013"
    assert margin(0.012, 3) == "±0.012"
    assert margin(-0.3, 1) == "±0.3"
