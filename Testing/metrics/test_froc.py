"""FROC on cases that can be counted by hand."""

import numpy as np
import pytest

from MedLLMSegLib.metrics.froc import LUNA16_POINTS, Finding, froc, froc_intervals
from MedLLMSegLib.metrics.group_statistics import bootstrap_interval


def test_the_points_are_luna16s():
    assert LUNA16_POINTS == (0.125, 0.25, 0.5, 1, 2, 4, 8)


def test_counted_by_hand():
    # Two images, three lesions. Falling scores: hit, false, hit, false, (third lesion never found).
    findings = [Finding("a", 0.9, 1), Finding("a", 0.8), Finding("b", 0.7, 1), Finding("b", 0.6)]
    curve = froc(findings, lesions=3, images=2)
    assert curve.false_positives.tolist() == [0, 0.5, 1.0]
    assert curve.sensitivity == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    # 1/8 lies a quarter of the way from 0 to 0.5, where the sensitivity goes from 1/3 to 2/3.
    assert curve.at() == pytest.approx([1 / 3 + 1 / 12, 1 / 2, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert curve.score == pytest.approx((5 / 12 + 1 / 2 + 5 * 2 / 3) / 7)


def test_a_perfect_and_a_blind_detector():
    assert froc([Finding(n, 1.0, 0) for n in range(4)], 4, 4).score == 1.0
    assert froc([Finding(n, 1.0) for n in range(4)], 4, 4).score == 0.0
    assert froc([], 4, 4).score == 0.0


def test_the_lowest_score_counts_too():
    """MONAI's curve leaves it out."""
    assert froc([Finding("a", 0.2), Finding("a", 0.1, 0)], 1, 1).at([1.0]).tolist() == [1.0]


def test_a_lesion_counts_once_by_its_highest_score_and_its_other_hits_not_at_all():
    findings = [Finding("a", 0.9, 1), Finding("a", 0.5, 1), Finding("a", 0.7), Finding("b", 0.1, 1)]
    curve = froc(findings, lesions=2, images=2)
    assert curve.at([0.0]).tolist() == [0.5]
    assert curve.false_positives.max() == 0.5
    assert curve.sensitivity.max() == 1.0


def test_equal_scores_stand_or_fall_together():
    curve = froc([Finding("a", 0.5, 1), Finding("a", 0.5)], 1, 1)
    assert curve.at([0.0, 1.0]).tolist() == [0.0, 1.0]


def test_images_without_findings_thin_the_false_positives_out():
    findings = [Finding("a", 0.9), Finding("a", 0.8, 1)]
    assert froc(findings, 1, 1).at([0.5]) == pytest.approx([0.5])
    assert froc(findings, 1, 8).at([0.125]) == pytest.approx([1.0])


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="at least one lesion"):
        froc([], 0, 3)
    with pytest.raises(ValueError, match="2 different lesions are hit"):
        froc([Finding("a", 1, 1), Finding("a", 1, 2)], 1, 1)


def test_the_interval_over_lesions_is_that_of_their_share():
    """Without false positives the sensitivity is the share of lesions that are found."""
    findings = [Finding("a", 1.0, n) for n in range(30)]
    low, high = froc_intervals(findings, {"a": 40}, [1.0], over="lesions", repeats=300)[0]
    assert (low, high) == pytest.approx(bootstrap_interval([1] * 30 + [0] * 10), abs=0.06)
    assert froc_intervals(findings, {"a": 30}, [1.0], over="lesions", repeats=50).tolist() == [
        [1.0, 1.0]
    ]


def test_the_interval_over_images_keeps_what_belongs_to_an_image_together():
    """Ten images, five of them all found: wider than over their hundred lesions."""
    findings = [Finding(image, 1.0, n) for image in range(5) for n in range(10)]
    lesions = dict.fromkeys(range(10), 10)
    low, high = froc_intervals(findings, lesions, [1.0], repeats=300)[0]
    assert (low, high) == pytest.approx(bootstrap_interval([1] * 5 + [0] * 5), abs=0.11)
    narrow = froc_intervals(findings, lesions, [1.0], over="lesions", repeats=300)[0]
    assert high - low > 2 * (narrow[1] - narrow[0])


def test_an_interval_needs_two_of_what_is_drawn():
    findings = [Finding("a", 1.0, 0)]
    assert np.isnan(froc_intervals(findings, {"a": 1}, [1.0, 2.0])).all()
    assert np.isnan(froc_intervals(findings, {"a": 1}, over="lesions")).all()
    only_one_has_any = froc_intervals(findings, {"a": 1, "b": 0}, [1.0], repeats=50)
    assert only_one_has_any.tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match='not "scans"'):
        froc_intervals(findings, {"a": 1}, over="scans")
    with pytest.raises(ValueError, match="only 1 are stated"):
        froc_intervals([*findings, Finding("a", 1.0, 1)], {"a": 1}, over="lesions")
