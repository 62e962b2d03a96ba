"""Whether an image lies in a model's domain, as one object."""

import math

import pytest

from MedLLMSegLib.core.domain_verdict import DomainVerdict


def test_outside_is_said_with_its_reason():
    verdict = DomainVerdict(True, 31.0, 12.5, "its features are 2.5 times as far as allowed")
    assert verdict.in_words == ("outside the domain: its features are 2.5 times as far as allowed")


def test_within_the_domain_nothing_is_said():
    assert DomainVerdict(False, 3.0, 12.5).in_words == ""


def test_an_alarm_without_a_reason_cannot_be_made():
    with pytest.raises(ValueError, match="reason"):
        DomainVerdict(True, 31.0, 12.5)


def test_a_distance_that_is_no_number_cannot_pass_for_a_near_one():
    with pytest.raises(ValueError, match="no numbers"):
        DomainVerdict(False, math.nan, 12.5)
