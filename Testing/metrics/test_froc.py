"""FROC on cases that can be counted by hand."""

import numpy as np
import pytest

from MedLLMSegLib.metrics.froc import LUNA16_POINTS, Finding, found_at, froc


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


@pytest.mark.parametrize(
    ("rate", "found"),
    [(0.0, [1, 0, 0, 0]), (0.49, [1, 0, 0, 0]), (0.5, [1, 1, 0, 0]), (1.5, [1, 1, 1, 0])],
)
def test_which_lesions_are_found_at_a_rate(rate, found):
    """Two scans; the third lesion ties with a false positive, the fourth is hit by nothing."""
    scores, false = [0.9, 0.7, 0.5, -np.inf], [0.5, 0.8, 0.6]
    assert found_at(scores, false, rate, 2).tolist() == found


def test_what_is_found_at_a_rate_is_the_step_of_the_curve():
    rng = np.random.default_rng(0)
    scores, false = rng.integers(0, 12, 20).astype(float), rng.integers(0, 12, 30).astype(float)
    hits = [Finding(0, score, n) for n, score in enumerate(scores)]
    curve = froc([*hits, *(Finding(0, score) for score in false)], 20, 3)
    for rate in (0.0, 0.1, 1 / 3, 1.0, 2.0, 4.0, 9.0, 10.0, 99.0):
        step = curve.sensitivity[curve.false_positives <= rate + 1e-9][-1]
        assert found_at(scores, false, rate, 3).mean() == pytest.approx(step)


def test_a_rate_that_no_float_holds_is_not_rounded_down():
    """As floats, 0.29 x 100 is 28.999999999999996."""
    assert found_at([0.5], [0.9] * 29 + [0.1], 0.29, 100).tolist() == [1]
