"""What is fitted of a model's quality, on points whose law is known."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.quality import LIGHTS, Certainty
from MedLLMSegLib.metrics.label_shape import label_shapes
from MedLLMSegLib.segmentation.quality.fitted import dice_of_logit
from MedLLMSegLib.studies.quality.corruptions import LEVELS, Corruption
from MedLLMSegLib.studies.quality.figures import all_figures, light_counts
from MedLLMSegLib.studies.quality.fit import Point, fit_line, fit_quality, worst_level
from MedLLMSegLib.studies.quality.measure import Measured, Row
from Testing.helpers.shapes import STRUCTURES, fit, norms, organ


def points(people=24, first=0, seed=0):
    """Two structures: the logit of the Dice falls with "doubt" and does not know of "nothing"; a
    bad outline misses volume, too.
    """
    rng = np.random.default_rng(seed)
    made = []
    for person in range(first, first + people):
        for level in range(LEVELS + 1):
            corruption = Corruption("noise", level) if level else Corruption()
            for key, start in (("core", 3.2), ("shell", 2.6)):
                doubt = abs(rng.normal(0.15 + 0.9 * level, 0.3))
                dice = dice_of_logit(start - 1.2 * doubt + rng.normal(0, 0.15))
                found = 10 * float(np.exp((1 - dice) * rng.normal()))
                confidence = 0.9 - 0.02 * doubt + rng.normal(0, 0.03)
                features = {"doubt": doubt, "nothing": rng.normal(), "flat": 1.0}
                name = str(person)
                made.append(
                    Point(key, name, name, corruption, dice, 10.0, found, confidence, features)
                )
    return made


def test_the_law_is_found_and_slopes_never_turn_round():
    line = fit_line(points(60))
    assert line.slopes["doubt"] == pytest.approx(1.2, rel=0.1)
    assert line.slopes["nothing"] < 0.05
    assert line.slopes["flat"] == 0
    assert line.start["core"] - line.start["shell"] == pytest.approx(0.6, abs=0.15)
    backwards = [replace(p, dice=1 - p.dice) for p in points()]
    assert fit_line(backwards).slopes["doubt"] == 0


def test_levels_are_kept_up_to_a_third_of_bad_structures():
    made = points(40)
    off = [
        abs(np.mean([p.dice < 0.8 for p in made if p.corruption.level <= n]) - 1 / 3)
        for n in range(1, LEVELS + 1)
    ]
    assert off[worst_level(made) - 1] == min(off)


def test_on_new_persons_a_low_dice_is_told_and_intervals_hold_as_often_as_promised():
    fitted = fit_quality(points(30), norms())
    figures = all_figures(points(60, first=100, seed=1), fitted, level=3)
    expected, confidence = (figures["all"][name]["value"] for name in ("expected", "confidence"))
    assert expected > 0.9 > confidence
    assert figures["all"]["difference"]["low"] > 0
    assert 0.86 < figures["coverage"]["coverage"] < 0.98
    assert figures["coverage_plain"]["intervals"] == 120
    assert figures["by_structure"]["core"]["structures"] == 240


def test_too_few_persons_have_no_interval_and_one_person_no_fit():
    fitted = fit_quality(points(6), norms())
    assert {own.interval for own in fitted.structures.values()} == {None}
    assert fitted.interval_ml("core", 10.0, 0.9) is None
    with pytest.raises(UserError, match="two persons"):
        fit_quality(points(1), norms())


def test_what_was_not_found_counts_as_a_dice_of_0():
    fitted = fit_quality(points(30), norms())
    lost = [
        Point("core", f"s{n}", f"p{n}", Corruption(), 0.0, 10.0, 0.0, 0.0, None) for n in range(12)
    ]
    figures = all_figures([*points(12, first=200, seed=2), *lost], fitted, level=1)
    assert figures["all"]["structures"] == 12 * 2 * 2 + 12
    assert figures["all"]["expected"]["value"] > 0.9
    assert figures["coverage_plain"]["intervals"] == 24


def test_lights_are_counted_by_what_the_outline_was_worth():
    shapes = label_shapes(organ(9.0))
    sure = {1: Certainty(0.97, 0.0, 0.02), 2: Certainty(0.97, 0.0, 0.02)}
    half = label_shapes(organ(9.0, spacing=0.5))

    def row(corruption, dice, own):
        measured = tuple(Measured(n, dice, 3.0, own[n], sure[n]) for n in (1, 2))
        return Row("s", "p", corruption, measured)

    rows = [row(Corruption(), 0.9, shapes), row(Corruption("noise", 1), 0.3, half)]
    counts = light_counts([*rows, Row("s", "p", Corruption(), refused="No.")], STRUCTURES, fit())
    assert counts["plain good"] == {"green": 2, "amber": 0, "red": 0}
    assert sum(counts["corrupted bad"].values()) == 2
    assert counts["plain bad"] == counts["corrupted good"] == dict.fromkeys(LIGHTS, 0)
