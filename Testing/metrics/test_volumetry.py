"""Volumetry: mL, percent of the intracranial volume, asymmetry, and the table of one scan."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import cardiac_structures, hippocampus_structures
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.volumetry import asymmetry_percent, volumetry, volumetry_csv


def segmentation(voxels, structures, intracranial=None) -> Segmentation:
    """voxels: label -> how many, of 2 mm each way (0.008 mL)."""
    labels = np.repeat(np.array(list(voxels), np.uint8), list(voxels.values()))
    array = np.zeros((4, 10, 50), np.uint8)
    array.ravel()[: len(labels)] = labels
    volume = Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))
    return Segmentation(volume, structures, intracranial=intracranial)


BRAIN = segmentation({17: 300, 53: 100, 16: 500}, brain_structures(), IntracranialVolume(8.0))


def rows_of(found):
    return {row.structure.key: row for row in found.rows}


def test_each_structure_has_its_volume_its_percent_and_its_asymmetry():
    rows = rows_of(volumetry(BRAIN))
    assert len(rows) == 32
    left, right, stem = (rows[k] for k in ("left_hippocampus", "right_hippocampus", "brain_stem"))
    assert (left.volume_ml, right.volume_ml) == (pytest.approx(2.4), pytest.approx(0.8))
    assert left.percent_intracranial == pytest.approx(30.0)
    # (2.4 - 0.8) / 1.6
    assert left.asymmetry_percent == right.asymmetry_percent == pytest.approx(100.0)
    assert stem.asymmetry_percent is None
    assert rows["left_amygdala"].asymmetry_percent is None  # neither side was found


def test_a_larger_right_side_is_negative_and_one_side_alone_has_no_index():
    assert asymmetry_percent(1.0, 3.0) == pytest.approx(-100.0)
    assert asymmetry_percent(2.0, 2.0) == 0
    assert asymmetry_percent(2.0, 0.0) is None


@pytest.mark.parametrize("intracranial", [None, IntracranialVolume(None, "the skull is off")])
def test_without_an_intracranial_volume_there_is_no_percent(intracranial):
    found = volumetry(replace(BRAIN, intracranial=intracranial))
    assert all(row.percent_intracranial is None for row in found.rows)
    assert rows_of(found)["brain_stem"].volume_ml == pytest.approx(4.0)


def test_the_ventricles_of_a_heart_are_no_pair_and_subfields_are():
    assert not volumetry(segmentation({1: 5, 3: 7}, cardiac_structures())).has_sides
    subfields = rows_of(volumetry(segmentation({1: 30, 3: 10}, hippocampus_structures(True))))
    assert subfields["right_anterior"].asymmetry_percent == pytest.approx(100.0)
    assert subfields["left_posterior"].asymmetry_percent is None


def test_groups_keep_all_rows_and_their_order():
    groups = volumetry(BRAIN).groups
    assert [name for name, _ in groups][:3] == ["cortex", "white matter", "deep grey"]
    assert sum(len(rows) for _, rows in groups) == 32
    assert {row.structure.group for row in dict(groups)["deep grey"]} == {"deep grey"}


def test_the_table_has_a_row_for_each_structure_and_one_for_the_whole():
    table = list(csv.DictReader(io.StringIO(volumetry_csv(volumetry(BRAIN)))))
    by_name = {row["name"]: row for row in table}
    assert len(table) == 33
    assert by_name["Left hippocampus"] == {
        "name": "Left hippocampus",
        "label": "17",
        "side": "left",
        "group": "deep grey",
        "volume_ml": "2.4",
        "percent_intracranial": "30.0",
        "asymmetry_percent": "100.0",
        "expected_dice": "",
        "low_ml": "",
        "high_ml": "",
        "light": "",
        "reasons": "",
    }
    assert by_name["Brain stem"]["asymmetry_percent"] == ""
    assert by_name["Intracranial volume"]["volume_ml"] == "8.0"
    off = replace(BRAIN, intracranial=IntracranialVolume(None, "the skull is off"))
    assert volumetry_csv(volumetry(off)).endswith("Intracranial volume,,,,not available,,,,,,,\n")
    heart = volumetry_csv(volumetry(segmentation({1: 5}, cardiac_structures())))
    assert len(heart.splitlines()) == 4


def test_the_expected_dice_is_in_the_table_of_what_was_found_and_a_low_one_is_doubtful():
    expected = {17: 0.8612, 53: 0.59, 10: 0.7}  # label 10 was not found
    found = volumetry(replace(BRAIN, expected_dice=expected))
    rows = rows_of(found)
    assert found.has_expected_dice
    assert not volumetry(BRAIN).has_expected_dice
    assert rows["left_hippocampus"].expected_dice == pytest.approx(0.8612)
    assert rows["left_thalamus"].expected_dice is rows["brain_stem"].expected_dice is None
    assert [row.structure.key for row in found.rows if row.is_doubtful] == ["right_hippocampus"]
    table = csv.DictReader(io.StringIO(volumetry_csv(found)))
    cells = {row["name"]: row["expected_dice"] for row in table}
    assert (cells["Left hippocampus"], cells["Right hippocampus"]) == ("0.8612", "0.59")
    assert cells["Brain stem"] == cells["Intracranial volume"] == ""


def test_the_light_and_the_interval_stand_beside_a_volume_and_the_light_decides_what_is_doubtful():
    odd = Quality("amber", ("it is in two parts", "it is small"))
    quality = ScanQuality(odd, {17: odd, 53: Quality()}, {17: (2.0, 2.9), 10: (5.0, 6.0)})
    found = volumetry(replace(BRAIN, expected_dice={17: 0.9, 53: 0.4}, quality=quality))
    assert [row.structure.key for row in found.rows if row.is_doubtful] == ["left_hippocampus"]
    assert found.has_intervals
    cells = {row["name"]: row for row in csv.DictReader(io.StringIO(volumetry_csv(found)))}
    left = cells["Left hippocampus"]
    assert (left["low_ml"], left["high_ml"]) == ("2.0", "2.9")
    assert (left["light"], left["reasons"]) == ("amber", "it is in two parts; it is small")
    assert cells["Right hippocampus"]["light"] == "green"
    assert cells["Left thalamus"]["low_ml"] == ""  # it was not found
