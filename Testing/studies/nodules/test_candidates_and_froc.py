"""Candidates in a phantom, what they hit, and FROC counted by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from MedLLMSegLib.studies.nodules import pictures
from MedLLMSegLib.studies.nodules.candidates import Candidate, blob_candidates, network_candidates
from MedLLMSegLib.studies.nodules.lung_windows import LungWindows, lung_region
from MedLLMSegLib.studies.nodules.operating_points import (
    POINTS,
    Answers,
    answers_of,
    curve_of,
    false_a_copy,
    found_at,
    mean_found,
)
from MedLLMSegLib.studies.nodules.trial import candidate_dice, false_scores, hit_by, near
from Testing.helpers.chest_phantom import chest_scan


class Bright(nn.Module):
    """Calls nodule what is bright in the lung window, and counts its windows."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        score = 20 * image[:, :1]  # (B, 1, K, J, I)
        return torch.cat([-score, score], dim=1)


@pytest.fixture(scope="module")
def scan():
    return chest_scan()


def answers(scores, false, scans=2):
    rows = [{"score": score} for score in scores]
    return Answers(rows, false, scans, [str(n) for n in range(len(rows))])


def step_at(curve, rate):
    """As `draw_froc` draws it."""
    return curve.sensitivity[np.searchsorted(curve.false_positives, rate, side="right") - 1]


def test_froc_is_the_one_counted_by_hand():
    # Two scans. False: 0.9, 0.6, 0.5. Nodules: 0.95, 0.7, 0.55, one missed.
    each = answers([0.95, 0.7, 0.55, None], [0.5, 0.9, 0.6])
    recalls = {rate: found_at(each, rate).mean() for rate in (0.25, 0.5, 1, 2)}
    assert recalls == {0.25: 0.25, 0.5: 0.5, 1: 0.75, 2: 0.75}
    assert mean_found(each).mean() == pytest.approx(np.mean([0.25, 0.5, *[0.75] * 4]))
    curve = curve_of(each)
    for rate, recall in recalls.items():
        assert step_at(curve, rate) == recall
    tied = answers([0.6, 0.6], [0.6, 0.6])
    assert found_at(tied, 0.5).sum() == 0  # no threshold tells them apart
    assert found_at(tied, 1).sum() == 2
    assert step_at(curve_of(tied), 0.5) == 0


def test_a_false_place_counts_once_however_many_copies_of_its_scan_there_are():
    row = {"score": 0.7, "patient": "P7"}
    copies = [[0.9, 0.8], [0.9], [0.9]]
    scans = {"a": {"nodules": [row], "false": copies, "alone": [0.9]}}
    each = answers_of([{"scans": scans}])
    assert each.scans == 1
    assert found_at(each, 0.5).sum() == 0
    assert found_at(each, 1).sum() == 1
    assert false_a_copy(each, 1) == pytest.approx(4 / 3)
    assert min(POINTS) * 4 == 1  # in four scans


def test_the_picture_is_the_curve_of_the_table(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(pictures, "draw_froc", lambda curves, *_, **more: drawn.update(curves))
    rng = np.random.default_rng(0)
    each = answers(rng.random(30).round(2), rng.random(90).round(2), scans=4)
    pictures.draw_curves({"network": each}, tmp_path)
    levels, recall = drawn["network"]
    for rate in POINTS:
        step = recall[np.searchsorted(levels, rate, side="right") - 1]
        assert step == pytest.approx(found_at(each, rate).mean())


class SureInTheMiddle(nn.Module):
    """Calls everything nodule but what lies within 5 voxels of its window's sides."""

    def forward(self, image):
        score = torch.full_like(image[:, :1], -4.0)  # (B, 1, K, J, I)
        score[..., 5:-5, 5:-5, 5:-5] = 4.0
        return torch.cat([-score, score], dim=1)


def test_the_windows_sides_do_not_show():
    windows = LungWindows(SureInTheMiddle().eval(), np.ones((72, 72, 72), bool))
    probability = windows.probability(np.zeros((72, 72, 72), np.float32))
    assert probability[16:-16, 16:-16, 16:-16].min() > 0.5


def test_8_mm_around_what_is_real_are_not_counted_and_no_more(scan):
    edge = 38 + 9 / 2  # of the nodule, along i in voxels of 2 mm
    within, beyond = (
        Candidate(score, np.array([20.0, 55.0, edge + mm / 2]), np.array([[20, 55, 50]]))
        for score, mm in ((0.5, 6.0), (0.9, 10.5))
    )
    assert false_scores([within, beyond], [], scan) == [0.9]


def test_blobs_find_the_nodule_and_outline_it(scan):
    candidates = blob_candidates(scan.hu, scan.lungs, scan.spacing_mm)
    hit = hit_by(candidates, scan.real, scan)
    assert hit is not None
    assert candidate_dice(hit, scan.real) > 0.85
    assert all(scan.lungs[tuple(np.round(each.centre).astype(int))] for each in candidates)


def test_a_network_finds_the_nodule_and_known_windows_are_not_run_again(scan):
    network = Bright().eval()
    windows = LungWindows(network, lung_region(scan.lungs, scan.spacing_mm[0]))
    candidates = network_candidates(windows, scan.hu, scan.spacing_mm[0])
    hit = hit_by(candidates, scan.real, scan)
    assert hit is not None
    assert candidate_dice(hit, scan.real) > 0.9
    once = network.calls
    changed = scan.hu.copy()
    changed[20, 55, 92] = 300
    network_candidates(windows, changed, scan.spacing_mm[0])
    assert 0 < network.calls - once < once / 2


def test_a_candidate_hits_what_its_centre_is_near(scan):
    outline = np.zeros(scan.hu.shape, bool)
    outline[20, 40:43, 40:43] = True
    inside, beside, far = (
        Candidate(score, np.array([20.0, 41.0, i]), np.array([[20, 41, 41]]))
        for score, i in ((0.5, 41.0), (0.9, 43.9), (0.7, 47.0))
    )
    assert near(inside, outline, scan)
    assert near(beside, outline, scan)
    assert not near(far, outline, scan)
    assert hit_by([beside, inside], outline, scan) is beside
    assert false_scores([inside, beside, far], [outline], scan) == [0.7]
    assert candidate_dice(inside, outline) == pytest.approx(2 / 10)
