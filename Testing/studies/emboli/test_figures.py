"""What the stored scores say, on runs that can be counted by hand."""

import numpy as np
import pytest

from MedLLMSegLib.metrics.froc import Finding, froc
from MedLLMSegLib.studies.emboli.figures import (
    POINTS,
    false_calls,
    found,
    lesion_values,
    mean_curve,
    silent_calls,
    stored_false,
)


def run(scores, false=(5.0, 4.0, 2.0), total=3, threshold=3.0):
    lesions = [{"kind": "central", "ml": 1.0, "scan": 0, "score": score} for score in scores]
    return {
        "threshold": threshold,
        "lesions": lesions,
        "false": list(false),
        "false_total": total,
        "false_above": 2,
        "silent_above": 1,
        "test_scans": 2,
    }


ONE = run([6.0, 4.5, 3.0, None])


def test_a_score_must_be_above_the_threshold():
    assert found(ONE).tolist() == [1, 1, 0, 0]
    assert silent_calls(ONE) == 1
    assert false_calls(ONE) == 1.0


@pytest.mark.parametrize(("rate", "share"), [(0.25, 0.25), (0.5, 0.5), (1.0, 0.75), (8.0, 0.75)])
def test_at_a_number_of_false_calls_a_scan(rate, share):
    """Never more than `froc`, which goes linearly between thresholds."""
    assert found(ONE, rate).mean() == share
    findings = [Finding(0, score) for score in ONE["false"]]
    hits = [each["score"] for each in ONE["lesions"]]
    findings += [Finding(0, score, n) for n, score in enumerate(hits) if score is not None]
    assert share <= froc(findings, 4, 2).at([rate])[0] + 1e-9


def test_no_more_false_calls_are_allowed_than_were_stored():
    """As if the rest did not exist, every clot with a score would be found."""
    cut_short = run([6.0, 1.0], total=4)
    assert found(cut_short, 1.0).tolist() == [1, 0]
    with pytest.raises(ValueError, match="only 3 of 4 are stored"):
        found(cut_short, 1.5)
    assert found(run([6.0, 1.0]), 1.5).tolist() == [1, 1]


def test_enough_false_calls_are_stored_for_every_point():
    for scans in (1, 2, 8, 40):
        stored = [float(n) for n in range(stored_false(scans))]
        whole = run([6.0], stored, total=10 * len(stored)) | {"test_scans": scans}
        for point in POINTS:
            found(whole, point)


def test_no_point_lies_below_what_one_background_can_tell():
    assert min(POINTS) >= 1


def test_seeds_are_averaged_and_those_with_one_side_only_left_out():
    study = {
        "settings": {"seeds": [0, 1, 2]},
        "runs": {
            "cnn-lstm-left-0": run([6.0]),
            "cnn-lstm-right-0": run([1.0]),
            "cnn-lstm-left-1": run([1.0]),
            "cnn-lstm-right-1": run([1.0]),
            "cnn-lstm-left-2": run([6.0]),
        },
    }
    assert lesion_values("cnn-lstm", study).tolist() == [0.5, 0.0]
    assert not len(lesion_values("cnn-mean", study))
    assert np.all(np.diff(mean_curve("cnn-lstm", study, (0.5, 1, 1.5))) >= 0)
