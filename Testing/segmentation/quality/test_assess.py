"""A result gets its expected Dice, its lights and its intervals, from numbers in the bundle."""

import json
import math

import pytest

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.quality import AMBER, GREEN, RED
from MedLLMSegLib.segmentation.quality.assess import with_quality
from MedLLMSegLib.segmentation.quality.fitted import (
    QualityFit,
    dice_of_logit,
    logit_of_dice,
    read_quality,
)
from MedLLMSegLib.segmentation.selection import only
from Testing.helpers.shapes import fit, organ, result

FIT = fit()


def test_a_good_result_is_green_and_its_volumes_have_intervals():
    found = with_quality(result(organ(9.0)), FIT)
    assert found.quality.scan.light == GREEN
    assert found.expected_dice[1] > 0.9
    low, high = found.quality.intervals_ml[1]
    assert low < found.volumes_ml["core"] < high
    assert math.log(high / low) / 2 == pytest.approx(max(0.05, 1 - found.expected_dice[1]))


def test_doubt_lowers_the_dice_and_widens_the_interval():
    sure, unsure = (with_quality(result(organ(9.0), mean), FIT) for mean in (0.95, 0.75))
    assert unsure.expected_dice[1] < 0.8 < sure.expected_dice[1]
    assert unsure.quality.structures[1].light == AMBER
    widths = [math.log(r.quality.intervals_ml[1][1] / r.volumes_ml["core"]) for r in (sure, unsure)]
    assert widths[1] > 2 * widths[0]


def test_a_wrong_size_is_red_whatever_the_network_says():
    found = with_quality(result(organ(9.0, spacing=0.5), 0.99), FIT)
    assert found.quality.scan.light == RED
    assert "pixel size" in found.quality.scan.reasons[0]
    assert "not as usual" not in " ".join(found.quality.scan.reasons)  # it is said once


@pytest.mark.parametrize("spacing", [0.5, 2.1])
def test_where_everything_is_of_a_wrong_size_no_structure_is_green_and_no_volume_is_promised(
    spacing,
):
    found = with_quality(result(organ(9.0, spacing=spacing), 0.99), FIT)
    assert {light.light for light in found.quality.structures.values()} == {RED}
    assert all("pixel size" in light.reasons[0] for light in found.quality.structures.values())
    assert found.quality.intervals_ml == {}


def test_outside_the_domain_all_is_red_and_no_interval_is_stated():
    verdict = DomainVerdict(True, 9.0, 3.0, "the image is flatter than those of the training")
    found = with_quality(result(organ(9.0)), FIT, verdict)
    assert {light.light for light in found.quality.structures.values()} == {RED}
    assert found.quality.intervals_ml == {}
    without_fit = with_quality(result(organ(9.0)), None, verdict)
    assert without_fit.quality.scan.light == RED
    assert without_fit.expected_dice == {}
    assert with_quality(result(organ(9.0)), None).quality is None
    inside = DomainVerdict(False, 1.0, 3.0)
    assert with_quality(result(organ(9.0)), None, inside).quality is None  # no ground for green


def test_a_scan_beyond_the_training_is_amber_with_the_words_and_keeps_its_intervals():
    found = with_quality(result(organ(9.0)), FIT, beyond=["slices every 14 mm"])
    assert found.quality.scan.light == AMBER
    assert found.quality.scan.reasons == ("the scan has slices every 14 mm",)
    assert {light.light for light in found.quality.structures.values()} == {GREEN}
    assert found.quality.intervals_ml
    assert with_quality(result(organ(9.0)), None, beyond=["slices"]).quality is None


def test_what_a_region_cuts_off_or_leaves_out_is_not_judged_and_the_rest_is():
    core = organ(9.0, shell=1.5)  # of the shell little is left
    assert with_quality(result(core), FIT).quality.scan.light != GREEN
    found = with_quality(result(core), FIT, not_whole={2})
    assert found.quality.scan.light == GREEN
    assert set(found.quality.structures) == set(found.expected_dice) == {1}
    assert set(found.quality.intervals_ml) == {1}
    core.array[core.array == 1] = 0
    assert with_quality(result(core), FIT, not_whole={1, 2}).quality is None  # no ground for green


def test_what_was_not_found_is_red_and_has_no_dice():
    labels = organ(9.0)
    labels.array[labels.array == 2] = 0
    found = with_quality(result(labels), FIT)
    assert set(found.expected_dice) == {1}
    assert found.quality.structures[2].light == RED


def test_some_structures_keep_their_own_lights():
    whole = with_quality(result(organ(9.0)), FIT)
    some = only(whole, ["shell"])
    assert set(some.quality.structures) == set(some.quality.intervals_ml) == {2}
    assert some.quality.scan == whole.quality.scan


def test_the_numbers_of_a_bundle_belong_to_one_measured_model():
    stored = json.loads(json.dumps({**FIT.to_dict(), "measured_model": "abc", "figures": {}}))
    assert read_quality({"quality": stored}, "abc").digest == FIT.digest
    assert read_quality({"quality": stored}, "other") is None
    assert read_quality({}, "abc") is None
    assert QualityFit.from_dict(FIT.to_dict()).to_dict() == FIT.to_dict()
    with pytest.raises(ValueError, match="slope"):
        QualityFit.from_dict({**stored, "slopes": {"doubt": -1.0}})


def test_a_dice_and_its_logit_are_two_ways_to_say_one_thing():
    for dice in (0.1, 0.5, 0.9):
        assert dice_of_logit(logit_of_dice(dice)) == pytest.approx(dice)
    assert 0 <= dice_of_logit(-1e9) < dice_of_logit(1e9) <= 1
