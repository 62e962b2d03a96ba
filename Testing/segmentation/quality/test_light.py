"""The traffic light says why it is not green."""

import pytest

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.quality import AMBER, GREEN, RED, Quality, ScanQuality
from MedLLMSegLib.segmentation.quality.light import Fault, judge, judge_scan, judge_series

ELSEWHERE = DomainVerdict(True, 9.0, 3.0, "the image is flatter than those of the training")


def test_what_is_as_usual_is_green():
    assert judge(0.9) == Quality(GREEN)
    assert judge() == Quality(GREEN)
    assert judge(0.9, domain=DomainVerdict(False, 1.0, 3.0)) == Quality(GREEN)


@pytest.mark.parametrize(("dice", "light"), [(0.81, GREEN), (0.79, AMBER), (0.59, RED)])
def test_a_low_expected_dice_is_amber_and_a_very_low_one_red(dice, light):
    found = judge(dice)
    assert found.light == light
    assert light == GREEN or f"{dice:.2f}" in found.reasons[0]


def test_a_structure_that_is_never_outlined_well_is_judged_by_what_it_usually_reaches():
    assert judge(0.65, usual_dice=0.7).light == GREEN
    assert judge(0.55, usual_dice=0.7).light == AMBER
    assert judge(0.45, usual_dice=0.7).light == RED
    assert "0.70 is usual" in judge(0.45, usual_dice=0.7).reasons[0]


def test_outside_the_domain_all_is_red_and_says_so():
    found = judge(0.95, domain=ELSEWHERE)
    assert found.light == RED
    assert "flatter" in found.in_words


def test_the_gravest_reason_comes_first():
    odd, wrong = Fault("it is in two parts"), Fault("it is on the wrong side", grave=True)
    assert judge(0.9, [odd]).light == AMBER
    assert judge(0.75, [odd, wrong]) == Quality(
        RED, ("it is on the wrong side", "it is in two parts", "the expected Dice is 0.75")
    )


def test_one_bad_structure_of_many_makes_the_scan_amber_and_many_make_it_red():
    good, bad, odd = Quality(), Quality(RED, ("bad",)), Quality(AMBER, ("odd",))
    names = [f"part {n}" for n in range(8)]
    assert judge_scan(dict.fromkeys(names, good)).light == GREEN
    one_bad = judge_scan({**dict.fromkeys(names, good), "part 3": bad})
    assert one_bad == Quality(AMBER, ("part 3: bad",))
    assert judge_scan({**dict.fromkeys(names, good), "part 3": odd}).light == GREEN
    three_bad = judge_scan({**dict.fromkeys(names, good), **dict.fromkeys(names[:3], bad)})
    assert three_bad.light == RED
    assert "part 0, part 1, part 2" in three_bad.reasons[0]
    assert judge_scan({"one": good, "two": good, "three": bad}).light == RED


def test_what_is_said_of_the_scan_is_said_once():
    outside = judge(domain=ELSEWHERE)
    parts = {"left": judge(0.7, domain=ELSEWHERE), "right": judge(0.9, domain=ELSEWHERE)}
    found = judge_scan(parts, outside)
    assert found.light == RED
    assert sum("flatter" in reason for reason in found.reasons) == 1


def test_a_quality_goes_through_json_and_keeps_the_structures_asked_for():
    whole = ScanQuality(
        Quality(AMBER, ("odd",)), {1: Quality(), 2: Quality(RED, ("bad",))}, {1: (2.0, 3.5)}
    )
    assert ScanQuality.from_dict(whole.to_dict()) == whole
    assert whole.of([2]) == ScanQuality(whole.scan, {2: Quality(RED, ("bad",))})
    with pytest.raises(ValueError, match="blue"):
        Quality("blue", ("sky",))
    with pytest.raises(ValueError, match="reason"):
        Quality(AMBER)


def test_the_light_of_a_series_is_that_of_its_worst_image_which_is_named():
    bad, odd = Quality(RED, ("it was not found",)), Quality(AMBER, ("odd",))
    assert judge_series([Quality(), bad, odd, bad]) == Quality(
        RED, ("2 of 4 images are red", "image 2: it was not found")
    )
    assert judge_series([Quality(), None]) == Quality()
    assert judge_series([None]) is None
