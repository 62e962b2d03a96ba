"""The result of many structures as a tree by group, in texts."""

import types
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.volumetry import volumetry
from MedLLMSegLib.slicer_bridge.presenter.panel_state import message_fields, without_scene
from MedLLMSegLib.slicer_bridge.presenter.segment_view import copied_table, with_job
from MedLLMSegLib.slicer_bridge.presenter.view import view
from MedLLMSegLib.slicer_bridge.presenter.volumetry_view import volumetry_groups, volumetry_text
from Testing.helpers.panel_states import READY, ended_job, shown_text

ROWS = (
    ("Left cerebral cortex", 40.0, 0.95),
    ("Left hippocampus", 3.0, 0.9),
    ("Right hippocampus", 1.0, None),
)


@pytest.fixture
def found():
    array = np.zeros((1, 10, 10), np.uint8)
    array[0, :4], array[0, 4, :3], array[0, 4, 3] = 3, 17, 53
    labels = Volume(array, np.diag([10.0, 10.0, 10.0, 1.0]))  # 1 mL a voxel
    return volumetry(
        Segmentation(labels, brain_structures(), intracranial=IntracranialVolume(200.0))
    )


def test_groups_hold_the_structures_that_were_found_with_their_figures(found):
    cortex, deep = volumetry_groups(found, ROWS)
    assert (cortex.name, deep.name) == ("cortex", "deep grey")
    assert deep.texts == ("Deep grey", "4.00", "", "2.00", "", "")
    left, right = deep.rows
    assert (left.key, left.color) == ("left_hippocampus", (220, 216, 20))
    assert (left.short, right.short) == ("L hippocampus", "R hippocampus")
    assert left.tip == ("Left hippocampus; mean confidence 0.90; 1.50 % of the intracranial volume")
    assert left.texts == ("Left hippocampus", "3.00", "–", "1.50", "+100.0", "0.90")
    assert right.texts == ("Right hippocampus", "1.00", "–", "0.50", "+100.0", "–")
    assert cortex.rows[0].texts.asymmetry == "–"  # the right cortex was not found


def test_without_an_intracranial_volume_there_are_no_percents(found):
    off = replace(found, rows=tuple(replace(r, percent_intracranial=None) for r in found.rows))
    cortex, deep = volumetry_groups(off, ROWS)
    assert {row.texts.percent_intracranial for row in deep.rows} == {"–"}
    assert cortex.texts.percent_intracranial == "–"


def test_the_clipboard_has_the_group_in_front_of_each_structure(found):
    lines = volumetry_text(volumetry_groups(found, ROWS)).splitlines()
    assert lines[0].split("\t")[:3] == ["Group", "Structure", "Volume (mL)"]
    assert lines[2] == "deep grey\tLeft hippocampus\t3.00\t–\t1.50\t+100.0\t0.90"
    assert len(lines) == 4


def ended(found):
    node = types.SimpleNamespace(GetName=lambda: "head segmentation")
    job = ended_job("done", rows=ROWS, volumetry=found, segmentationNode=node)
    return with_job(replace(READY, state="running"), job, seconds=9.0)


def test_the_panel_shows_and_copies_the_tree_of_a_finished_run(found):
    panel = ended(found)
    assert [group.name for group in view(panel).groups] == ["cortex", "deep grey"]
    assert "Intracranial volume 200 mL." in shown_text(panel)
    assert copied_table(panel).startswith("Group\t")
    assert without_scene(panel).volumetry is None


def test_why_there_is_no_intracranial_volume_is_said(found):
    off = replace(found, intracranial=IntracranialVolume(None, "the skull is off"))
    assert "not available: the skull is off." in shown_text(ended(off))


def test_a_result_of_few_structures_stays_a_plain_table(found):
    panel = replace(ended(found), volumetry=None)
    assert view(panel).groups == ()
    assert len(view(panel).rows) == 3
    assert copied_table(panel).startswith("Structure\t")


def test_a_light_is_a_dot_with_its_word_and_its_reasons(found):
    """Never the colour alone."""
    texts = {}
    for light, reasons in (("green", ()), ("amber", ("it is small",)), ("red", ("no <head>",))):
        node = types.SimpleNamespace(GetName=lambda: "head segmentation")
        quality = ScanQuality(Quality(light, reasons))
        job = ended_job("done", rows=ROWS, segmentationNode=node, quality=quality)
        panel = with_job(replace(READY, state="running"), job)
        texts[light] = shown_text(panel)
        rich = view(panel).widgets["statusLabel"]["text"]
        assert rich.count("●") == 2  # of the run, and of its quality
        assert without_scene(panel).quality is None
        restored = replace(panel, **message_fields("Restored."))
        assert "Quality" not in shown_text(restored)
    assert "Quality green: nothing unusual." in texts["green"]
    assert "Quality amber: look closely (it is small)." in texts["amber"]
    assert "Quality red: do not rely on it (no <head>)." in texts["red"]


def test_the_light_of_a_structure_says_why_it_is_to_be_looked_at(found):
    amber = Quality("amber", ("its volume of 3.00 mL is outside the 3.2 to 5.1 mL",))
    rows = tuple(
        replace(
            r,
            quality=amber if r.structure.side == "left" else Quality(),
            expected_dice=0.9,
            interval_ml=(2.5, 3.75),
        )
        for r in found.rows
    )
    _cortex, deep = volumetry_groups(replace(found, rows=rows), ROWS)
    left, right = deep.rows
    assert "look closely (its volume of 3.00 mL" in left.doubt
    assert right.doubt == ""
    assert "2.50 to 3.75 mL" in left.tip


def test_a_low_expected_dice_is_said_in_words(found):
    expected = {"left_hippocampus": 0.83, "right_hippocampus": 0.41}
    rows = tuple(replace(r, expected_dice=expected.get(r.structure.key)) for r in found.rows)
    _cortex, deep = volumetry_groups(replace(found, rows=rows), ROWS)
    left, right = deep.rows
    assert (left.texts.expected_dice, right.texts.expected_dice) == ("0.83", "0.41")
    assert left.doubt == ""
    assert right.doubt.startswith("The model expects a low Dice (0.41) of Right hippocampus")
    assert "0.41" in volumetry_text((deep,))
