"""A result in sentences: rounding, what is missing, and what is not to be relied on."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import Segmentation, Volume, write_report
from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import cardiac_structures, hippocampus_structures
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import IntracranialVolume
from MedLLMSegLib.metrics.heart_function import Person, heart_function
from MedLLMSegLib.reporting.sentences import (
    RESEARCH,
    heart_sentences,
    millilitres,
    percent,
    scan_sentences,
)

HIPPOCAMPI = tuple(s for s in brain_structures() if s.label in (17, 53))
STEM = tuple(s for s in brain_structures() if s.label == 16)
CSF = tuple(s for s in brain_structures() if s.label == 24)


def result(structures, voxels, **more):
    """A segmentation with so many voxels of 0.1 mL a label."""
    values = np.repeat(list(voxels), list(voxels.values())).astype(np.uint8)
    array = np.zeros(4000, np.uint8)
    array[: len(values)] = values
    matrix = np.diag([10.0, 10.0, 1.0, 1.0])
    labels = Volume(array.reshape(40, 10, 10), matrix, "scan")
    return Segmentation(labels, structures, {}, **more)


@pytest.mark.parametrize(
    "ml, text",
    [
        (1482.4, "1482 mL"),
        (99.96, "100 mL"),
        (99.9, "99.9 mL"),
        (3.449, "3.4 mL"),
        (0.996, "1.0 mL"),
        (0.216, "0.22 mL"),
        (0.004, "less than 0.01 mL"),
    ],
)
def test_volumes_have_the_digits_that_they_deserve(ml, text):
    assert millilitres(ml) == text


@pytest.mark.parametrize(
    "value, text", [(6.2, "6 %"), (-6.2, "6 %"), (1.0, "1 %"), (0.96, "less than 1 %")]
)
def test_percentages_are_whole(value, text):
    assert percent(value) == text


def test_two_sides_are_one_sentence_with_their_asymmetry():
    lines = scan_sentences(result(HIPPOCAMPI, {17: 34, 53: 36}))
    assert lines[0] == "The left hippocampus measures 3.4 mL, the right 3.6 mL (asymmetry 6 %)."
    assert lines[-1] == RESEARCH


def test_parts_stand_behind_their_sum():
    parts = hippocampus_structures(lateral=True)
    (first, *_rest) = scan_sentences(result(parts, {1: 15, 2: 19, 3: 17, 4: 19}))
    assert first == (
        "The left hippocampus measures 3.4 mL (anterior 1.5 mL, posterior 1.9 mL), the right"
        " 3.6 mL (anterior 1.7 mL, posterior 1.9 mL) (asymmetry 6 %)."
    )
    (crop, *_rest) = scan_sentences(result(hippocampus_structures(lateral=False), {1: 15}))
    assert crop == "The hippocampus measures 1.5 mL (anterior 1.5 mL, posterior not found)."


def test_what_is_missing_is_said():
    assert scan_sentences(result(HIPPOCAMPI, {17: 34}))[0] == (
        "The right hippocampus was not found; the left measures 3.4 mL."
    )
    assert scan_sentences(result(HIPPOCAMPI, {}))[0] == (
        "The hippocampus was found on neither side."
    )
    assert scan_sentences(result(STEM, {}))[0] == "The brain stem was not found."
    assert scan_sentences(result(HIPPOCAMPI[:1], {17: 34}))[0] == (
        "The left hippocampus measures 3.4 mL."
    )
    assert scan_sentences(result(CSF, {24: 34}))[0] == "The CSF measures 3.4 mL."


def test_the_intracranial_volume_is_there_or_why_it_is_not():
    whole = result(STEM, {16: 250}, intracranial=IntracranialVolume(1482.0))
    assert "The intracranial volume is 1482 mL." in scan_sentences(whole)
    off = replace(whole, intracranial=IntracranialVolume(None, "the skull was taken off"))
    assert "The intracranial volume is not available: the skull was taken off." in scan_sentences(
        off
    )


def test_an_outline_that_is_doubted_is_named_with_the_reason():
    doubted = result(HIPPOCAMPI, {17: 34, 53: 36}, expected_dice={17: 0.52, 53: 0.8})
    (sentence,) = [s for s in scan_sentences(doubted) if "Dice" in s]
    assert sentence == (
        "Look at the outline of the left hippocampus first: the model expects a Dice of 0.52."
    )


def test_a_red_volume_says_so_where_it_stands():
    reason = "the expected Dice is 0.41"
    quality = ScanQuality(
        Quality("amber", ("Left hippocampus: it is small",)),
        {17: Quality("red", (reason,)), 53: Quality()},
    )
    lines = scan_sentences(result(HIPPOCAMPI, {17: 34, 53: 36}, quality=quality))
    assert lines[0] == (
        "The left hippocampus measures 3.4 mL (not to be relied on), the right 3.6 mL (asymmetry"
        " 6 %)."
    )
    assert f"The left hippocampus is red (do not rely on it): {reason}." in lines
    assert "The result's quality is amber (look closely): Left hippocampus: it is small." in lines


def test_ranges_stand_behind_the_volumes_and_are_explained_once():
    quality = ScanQuality(intervals_ml={17: (3.1, 3.84), 53: (3.3, 4.0)}, level=0.9)
    lines = scan_sentences(result(HIPPOCAMPI, {17: 34, 53: 36}, quality=quality))
    assert lines[0] == (
        "The left hippocampus measures 3.4 mL (3.1 to 3.8 mL), the right 3.6 mL (3.3 to 4.0 mL)"
        " (asymmetry 6 %)."
    )
    assert lines[1].startswith("The ranges in brackets hold the true volume in 90 % of scans")
    assert "The result's quality is green (nothing unusual)." in lines


def test_notes_end_with_a_full_stop():
    lines = scan_sentences(result(STEM, {16: 250}, notes=("Cut off  at the top", "Look at it.")))
    assert lines[-3:] == ("Cut off at the top.", "Look at it.", RESEARCH)


def beat(left, wall, right):
    return {"left_ventricle": left, "myocardium": wall, "right_ventricle": right}


def test_a_heart_has_its_function():
    function = heart_function(beat([142.0, 61.0], [93.0, 95.0], [150.0, 70.0]), Person(180, 80, 70))
    left, right, mass, output, last = heart_sentences(function)
    assert left == (
        "The left ventricle holds 142 mL (71 mL/m²) at end-diastole and 61 mL (30 mL/m²) at"
        " end-systole: its ejection fraction is 57 %, and its stroke volume 81 mL (40 mL/m²)."
    )
    assert "150 mL (75 mL/m²)" in right
    assert mass == "The wall of the left ventricle weighs 98 g (49 g/m²)."
    assert output == "At 70 beats a minute the cardiac output is 5.7 L/min (2.8 L/min/m²)."
    assert last == RESEARCH


def test_a_heart_without_a_right_ventricle_or_wall_says_so():
    function = heart_function(beat([142.0, 61.0], [0.0, 0.0], [0.0, 70.0]))
    lines = heart_sentences(function)
    assert "The right ventricle was not found at end-diastole and end-systole: no figures." in lines
    assert "The mass of the left ventricle's wall is not available." in lines
    assert "142 mL at end-diastole" in lines[0]
    assert all(note in lines for note in function.notes)


def test_the_report_has_them_on_its_page_and_as_text(tmp_path):
    heart = result(cardiac_structures(), {1: 300, 2: 200, 3: 250}, notes=("Sides & <all>.",))
    scan = heart.labels.with_array(np.arange(4000, dtype=np.float32).reshape(40, 10, 10))
    page = write_report(scan, heart, tmp_path / "report")
    text = (tmp_path / "report" / "report.txt").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "scan"
    assert "The right ventricle measures 30.0 mL." in text
    assert "Sides & <all>." in text
    html = page.read_text(encoding="utf-8")
    assert "The right ventricle measures 30.0 mL." in html
    assert "Sides &amp; &lt;all&gt;." in html
    assert html.count("Sides &amp;") == 1
