"""The traffic light of a result, from all that speaks for and against it: the Dice to expect,
what is odd about its size, place and parts, and whether the scan is of the model's domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.quality import AMBER, GREEN, RED, Quality, worst

DOUBTFUL_DICE, LOW_DICE = 0.8, 0.6
# A structure that never gets so far is judged by what it usually reaches.
BELOW_USUAL = {DOUBTFUL_DICE: 0.1, LOW_DICE: 0.2}
SHARE_OF_STRUCTURES = 0.25  # so many of them make the light of the scan


@dataclass(frozen=True)
class Fault:
    """One thing that is odd. says: as a sentence without a full stop. grave: whether the outline is
    most likely wrong, and not only unusual.
    """

    says: str
    grave: bool = False

    @property
    def light(self) -> str:
        """Red for a grave one, else amber."""
        return RED if self.grave else AMBER


def judge(
    expected_dice: float | None = None,
    faults: Sequence[Fault] = (),
    domain: DomainVerdict | None = None,
    usual_dice: float | None = None,
) -> Quality:
    """The light of one structure, or of a scan.

    expected_dice: 0 to 1; None where the model expects nothing. faults: see `sanity`. domain: of
    the scan; outside of it the light is red. usual_dice: what this structure reaches in scans like
    the training's, so that one that is never outlined well is not amber for ever.
    """
    found = [*faults]
    if domain is not None and domain.outside:
        found.append(Fault(f"the scan is {domain.in_words}", grave=True))
    if expected_dice is not None:
        found.extend(_low_dice(expected_dice, usual_dice))
    graves_first = sorted(found, key=lambda fault: not fault.grave)
    return Quality(worst(f.light for f in found), tuple(f.says for f in graves_first))


def dice_limits(usual_dice: float | None) -> tuple[float, float]:
    """The expected Dice below which a structure is amber, and red."""
    usual = 1.0 if usual_dice is None else usual_dice
    amber, red = (min(limit, usual - less) for limit, less in BELOW_USUAL.items())
    return amber, red


def _low_dice(expected: float, usual: float | None) -> list[Fault]:
    amber, red = dice_limits(usual)
    if expected >= amber:
        return []
    normally = "" if usual is None else f", where {usual:.2f} is usual"
    return [Fault(f"the expected Dice is {expected:.2f}{normally}", grave=expected < red)]


def judge_scan(structures: Mapping[str, Quality], of_scan: Quality | None = None) -> Quality:
    """The light of a whole scan.

    structures: name -> light of each. of_scan: what is known of the scan itself (`judge` with its
    faults and domain). A light counts where a quarter of the structures or more have it; one red
    structure makes the scan amber.
    """
    own = of_scan or Quality()
    lights = [quality.light for quality in structures.values()]
    red = [name for name, quality in structures.items() if quality.light == RED]
    amber = [name for name, quality in structures.items() if quality.light == AMBER]
    many = SHARE_OF_STRUCTURES * len(lights)
    if red and len(red) >= many:
        of_parts = RED
    elif red or (amber and len(amber) >= many):
        of_parts = AMBER
    else:
        of_parts = GREEN
    light, reasons = worst([own.light, of_parts]), list(own.reasons)
    if of_parts != GREEN:
        reasons += _reasons_of(structures, red or amber, own)
    return Quality(light, tuple(dict.fromkeys(reasons)))


def judge_series(images: Sequence[Quality | None]) -> Quality | None:
    """The light of a series: that of its worst image, with the first such image's reasons; None
    where nothing is known of any image.
    """
    known = [(number, own) for number, own in enumerate(images, 1) if own is not None]
    if not known:
        return None
    light = worst(own.light for _number, own in known)
    if light == GREEN:
        return Quality()
    bad = [(number, own) for number, own in known if own.light == light]
    number, first = bad[0]
    count = f"{len(bad)} of {len(known)} images are {light}"
    return Quality(light, (count, f"image {number}: {'; '.join(first.reasons)}"))


def _reasons_of(structures: Mapping[str, Quality], names: Sequence[str], own: Quality) -> list[str]:
    """The reasons of one or two structures in full, of more some of their names; those that say no
    more than the scan does are passed over.
    """
    names = [name for name in names if set(structures[name].reasons) - set(own.reasons)]
    if len(names) > 2:
        among = ", such as " if len(names) > 3 else ": "
        light = structures[names[0]].light
        return [f"{len(names)} structures are {light}{among}{', '.join(names[:3])}"]
    told = []
    for name in names:
        reasons = [reason for reason in structures[name].reasons if reason not in own.reasons]
        told.append(f"{name}: {'; '.join(reasons)}")
    return told
