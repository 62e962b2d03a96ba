"""The longer texts of docs/emboli.md: how it was made, and what it cannot say."""

from __future__ import annotations

import numpy as np

from MedLLMSegLib.core.types import Json

from .figures import runs_of
from .study_names import ARMS

PICTURE_WORDS = (
    "In the part that tests, 45 mm wide, in the vessel window: green, dashed: the inserted defects;"
    " orange circles: calls of the first `cnn-lstm`, above its threshold. Top: the two largest and"
    " two smallest that it finds; middle: the four largest that it misses; bottom: the untouched"
    " scan at its four highest scores, called only where circled. Right: the FROC of each arm."
)
CREDIT = (
    "The pixels are of `small_tests/ct_angio`, a public contrast CT that lies in a folder of test"
    " scans under Apache-2.0 and CC BY 3.0; it is not stored which of the two is this scan's, nor"
    " who made it. Changed here: defects inserted, cut out, in a window of grey."
)


def earlier(study: Json) -> Json:
    """What was written down at earlier looks, if that was with these settings."""
    stored: Json = study.get("earlier", {})
    return stored if stored.get("settings") == study["settings"] else {}


def limits(study: Json) -> str:
    """What the figures cannot say."""
    seen = earlier(study).get("seen_at_the_trunk", "")
    return "\n".join(
        (
            "- One scan of one person: its intervals are over inserted defects, not over patients."
            " They say how well the figures are known for this scan alone, and cannot say what"
            " another person, scanner or contrast phase would give.",
            "- Inserted defects are simpler than emboli: no dilated or shrunken vessels, no webs,"
            " no infarcts, no motion, no flow artefacts. A real reader's false calls (lymph nodes,"
            " veins, mucus) have their part only as far as this scan holds them.",
            "- Voxels of 1.5 mm: subsegmental arteries are not seen, and none has a defect.",
            "- The artery's label comes from a model, made on the scan before anything was"
            " inserted; an embolus may spoil such a label. Arteries and veins in the lungs are told"
            " apart only by which is nearer to the label or to the heart within contrast-filled"
            " voxels.",
            f"- The candidates around the trunk reach into the tissue beside it.{_after(seen)}",
            "- Both sides of one chest are alike in noise, contrast and build: a test on the other"
            " side is easier than one on another person.",
        )
    )


def method(study: Json) -> str:
    """How it was made."""
    return "\n".join((*_scan_words(study), *_call_words(study), *_training_words(study)))


def _scan_words(study: Json) -> list[str]:
    scan = study["scan"]
    ml = [
        each["ml"]
        for arm in ARMS
        for pair in runs_of(arm, study)[:1]
        for run in pair
        for each in run["lesions"]
    ]
    sizes = f" of {min(ml):.2f} to {max(ml):.2f} ml (median {np.median(ml):.2f})" if ml else ""
    return [
        f"- **Vessels.** The label of the artery ({scan['label_ml']} ml) grows through"
        f" contrast-filled voxels in the lungs to {scan['arteries_ml']} ml.",
        f"- **Filling defects**{sizes} are drawn as worms within the arteries, never outside:"
        " central ones in the label, segmental ones in the branches, floating or blocking. They"
        " have 30 to 90 HU, as measured in emboli (Wittram et al., Radiology 2005: 33 HU in"
        f" acute and 87 HU in chronic ones). Their edges are blurred by {scan['blur_mm']} mm,"
        " no sharper than half a voxel, and the scan's own noise stays.",
    ]


def _call_words(study: Json) -> list[str]:
    settings = study["settings"]
    return [
        f"- **Candidates** are the voxels within {settings['searched_mm']:g} mm of blood and of"
        " the arteries that are darker than blood and no air; that includes the edges of"
        " vessels. The arteries are grown again in the scan with the defects in it. Of calls"
        " within 9 mm the highest stays.",
        "- **The score** of a candidate is the sum of the chances that a network gives to the"
        f" candidates within {settings['pooled_mm']:g} mm: a clot holds several. This was"
        " chosen on the val slab of one side, among single chances and means and sums within"
        " 2.5 to 5.5 mm.",
        *_looks(study),
    ]


def _looks(study: Json) -> list[str]:
    """The tests before this one, and what was changed after them."""
    stored = earlier(study)
    looks = stored.get("looks", [])
    if not looks:
        return []
    each = "; ".join(
        f"{look['how']} ({look['called_at_one']} of {look['defects']} defects called at one false"
        f" call a scan{_silent_then(look)}), {look['changed']}"
        for look in looks
    )
    return [
        f"- **Earlier looks at the test.** The two `cnn-lstm` were tested {len(looks)} times"
        f" before: {each}. So the figures of this page are look {len(looks) + 1}, and a little too"
        f" good.{_after(stored.get('corrected', ''))}"
    ]


def _silent_then(look: Json) -> str:
    if "untouched" not in look:
        return ""
    return f"; {' and '.join(map(str, look['untouched']))} calls in the untouched parts"


def _training_words(study: Json) -> list[str]:
    settings = study["settings"]
    scans = settings["scans"]
    return [
        "- **Networks** see nine slices of 30 mm around a candidate, in a vessel window from 0"
        " HU to the artery's mean and two SD (Bae et al., Radiology 2005), and in a soft-tissue"
        " window (Brink et al., Radiology 1997: occluded vessels show there)."
        f" {settings['steps']} steps of {settings['batch']} windows, half with a defect, from"
        f" {scans['train']} scans with defects in the part that trains; weights by the AUC in"
        " a slab that does not.",
        f"- **Test**: {scans['test']} scans with defects in the other side. No window of one"
        " side shows a voxel that a window of the other side shows.",
        "- **Trivial baseline**: the number of voxels from -20 to 130 HU in a cube of 10.5 mm,"
        " within the vessels with their gaps closed.",
    ]


def _after(sentence: str) -> str:
    return f" {sentence}" if sentence else ""
